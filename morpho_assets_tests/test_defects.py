"""Every named defect through the real graph: noticed where the catalogue says, with a message, and without spreading.

Images are divided by the gallery's own functions where wells are compared with those of a whole plate: functions that
are estimated from a plate's images, as they are by default, feel every image of it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from morpho_assets.lineage import PLATE_STAGES

from morpho_assets.cli import _first_failure
from morpho_assets.definitions import build_defs
from morpho_assets.lake.lake import Lake
from morpho_assets.profiles.features import feature_columns
from morpho_assets.simulator.defects import DEFECTS, Damage, apply_defect
from morpho_assets_tests.project import make_project

pytestmark = pytest.mark.slow
PLATE = "SYN00000001"
COUNTS = ["Metadata_Count_Cells", "Metadata_Count_Sites", "Metadata_Count_Failed_Sites"]


@dataclass(frozen=True)
class Run:
    """What the stages of a plate left behind, and what they said."""

    lake: Lake
    outcome: dg.ExecuteInProcessResult

    @property
    def message(self) -> str:
        """What the user is told: the sentence that `morpho run` prints."""
        return _first_failure(self.outcome)

    def warnings(self, stage: str) -> str:
        checks = self.outcome.get_asset_check_evaluations()
        failed = [check for check in checks if check.asset_key == dg.AssetKey(stage) and not check.passed]
        return "\n".join(f"{check.check_name}: {check.description}" for check in failed)

    def flags(self) -> set[tuple[str, str, str]]:
        """(well, channel, flag) of every raised flag."""
        quality = self.lake.read("image_quality", PLATE)
        names = [name for name in quality.columns if name.startswith("flag_")]
        long = quality.unpivot(names, index=["Metadata_Well", "channel"], variable_name="flag").filter("value")
        return set(long.select("Metadata_Well", "channel", "flag").iter_rows())

    def profiles(self, table: str, wells: set[str]) -> pl.DataFrame:
        """Counts and features of these wells, in order."""
        profiles = self.lake.read(table, PLATE).filter(pl.col("Metadata_Well").is_in(list(wells)))
        return profiles.select("Metadata_Well", *COUNTS, *sorted(feature_columns(profiles))).sort("Metadata_Well")


def run_plate(folder: Path, gallery: Path, **settings: object) -> Run:
    """All stages of the plate, one after the other in this process, as `morpho run` does."""
    project = make_project(folder, gallery, **settings)
    job = build_defs(project.folder / "morpho.yaml").resolve_implicit_global_asset_job_def()
    stages = job.get_subset(asset_selection={dg.AssetKey(name) for name in PLATE_STAGES})
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("plate", [PLATE])
        outcome = stages.execute_in_process(
            run_config=quiet, instance=instance, partition_key=PLATE, raise_on_error=False
        )
    return Run(project.workspace.lake, outcome)


GALLERY, ESTIMATED = {"illumination": {"method": "gallery"}}, {}
METHODS = pytest.mark.parametrize("method", [GALLERY, ESTIMATED], ids=["gallery's functions", "estimated ones"])


@pytest.fixture(scope="module")
def clean(tmp_path_factory, tiny_gallery) -> Run:
    return run_plate(tmp_path_factory.mktemp("clean"), tiny_gallery, **GALLERY)


def spoilt(
    tmp_path: Path, tiny_gallery: Path, name: str, seed: int = 1, method: dict[str, object] = GALLERY
) -> tuple[Run, Damage]:
    gallery = Path(shutil.copytree(tiny_gallery, tmp_path / "gallery"))
    damage = apply_defect(gallery, name, seed)
    return run_plate(tmp_path / "project", gallery, **method), damage


def of(outcome: str) -> list[str]:
    return [name for name, defect in DEFECTS.items() if defect.outcome == outcome]


def after(stage: str) -> set[str]:
    """The stages that read a stage's results, however many stages later."""
    direct = {name for name, other in PLATE_STAGES.items() if stage in other.inputs}
    return direct.union(*(after(name) for name in direct))


def unharmed(clean: Run, damage: Damage) -> set[str]:
    """Wells whose images the defect did not touch; one of all images names the folder and no well."""
    wells = set(clean.lake.read("well_profiles", PLATE)["Metadata_Well"])
    return set() if damage.path.is_dir() and not damage.wells else wells - set(damage.wells)


def assert_others_are_the_same(run: Run, clean: Run, damage: Damage) -> None:
    wells = unharmed(clean, damage)
    assert run.profiles("well_profiles", wells).equals(clean.profiles("well_profiles", wells))
    # A control well that is hurt moves the centre and the scale of its plate, so the others' units.
    controls = clean.lake.read("wells", PLATE).filter(Metadata_control_type="negcon")["Metadata_Well"]
    if not set(damage.wells) & set(controls):
        assert run.profiles("normalized_profiles", wells).equals(clean.profiles("normalized_profiles", wells))


def assert_nothing_half_written(lake: Lake) -> None:
    root = Path(lake.root)
    assert not [path for path in root.rglob("*") if "aside" in path.name]


def test_a_whole_plate_passes_every_check_in_silence(clean):
    assert clean.outcome.success
    assert clean.lake.read("site_failures", PLATE).is_empty()
    assert {stage: clean.warnings(stage) for stage in PLATE_STAGES} == dict.fromkeys(PLATE_STAGES, "")


@pytest.mark.parametrize("name", of("error"))
def test_an_error_stops_the_plate_with_one_message(name, tmp_path, tiny_gallery, clean):
    run, _ = spoilt(tmp_path, tiny_gallery, name)
    defect = DEFECTS[name]
    assert not run.outcome.success
    message = run.message
    assert all(sign in message for sign in defect.signs), message
    assert message.startswith(defect.stage)
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    if "sites failed" not in message:  # the blocking check names the first file and says what to do in its own words
        assert re.search(r"(InputError: .+): found .+; expected .+\. [A-Z].+\.$", message)
    assert not [stage for stage in after(defect.stage) if run.lake.parts(PLATE_STAGES[stage].table, PLATE)]
    assert_nothing_half_written(run.lake)
    if defect.stage == "well_profiles":
        wells = set(clean.lake.read("well_profiles", PLATE)["Metadata_Well"])
        assert run.profiles("well_profiles", wells).equals(clean.profiles("well_profiles", wells))


def where(name: str, seed: int, gallery: Path, trial: Path) -> tuple[str, ...]:
    """The wells that a defect would spoil, found out on a copy."""
    shutil.copytree(gallery, trial)
    try:
        return apply_defect(trial, name, seed).wells
    finally:
        shutil.rmtree(trial)


def taken(damages: dict[str, Damage]) -> list[tuple[str, ...]]:
    return [damage.wells for damage in damages.values()]


@pytest.fixture(scope="module", params=[GALLERY, ESTIMATED], ids=["gallery's functions", "estimated ones"])
def spoilt_sites(request, tmp_path_factory, tiny_gallery) -> tuple[Run, dict[str, Damage]]:
    """One plate with every defect that costs a site, each in a well of its own, and where each one is."""
    folder = tmp_path_factory.mktemp("sites")
    gallery, damages = Path(shutil.copytree(tiny_gallery, folder / "gallery")), {}
    for name in sorted(of("site_failure"), key=lambda name: name == "missing_image"):  # last: it changes what is there
        seeds = (seed for seed in range(100) if where(name, seed, tiny_gallery, folder / "trial") not in taken(damages))
        damages[name] = apply_defect(gallery, name, next(seeds))
    return run_plate(folder / "project", gallery, failed_sites=1.0, **request.param), damages


def test_site_failures_leave_every_other_well_as_it_was(spoilt_sites, clean):
    run, damages = spoilt_sites
    assert run.outcome.success
    hurt = [well for damage in damages.values() for well in damage.wells]
    assert len(set(hurt)) == len(damages)
    assert set(run.lake.read("site_failures", PLATE)["Metadata_Well"]) == set(hurt)
    lost = run.lake.read("well_profiles", PLATE).filter(Metadata_Count_Failed_Sites=1)
    assert set(lost["Metadata_Well"]) == set(hurt)
    assert (lost["Metadata_Count_Cells"] == 0).all()
    if set(run.lake.read("illumination_functions", PLATE)["method"]) == {"gallery"}:
        assert_others_are_the_same(run, clean, Damage(PLATE, tuple(hurt), damages["missing_image"].path))
    assert_nothing_half_written(run.lake)


@pytest.mark.parametrize("name", of("site_failure"))
def test_a_site_failure_is_one_row_of_its_stage(name, spoilt_sites):
    run, damages = spoilt_sites
    defect, damage = DEFECTS[name], damages[name]
    rows = run.lake.read("site_failures", PLATE).filter(Metadata_Well=damage.wells[0])
    assert {Path(path).name for path in rows["path"]} == {damage.path.name}
    noticed = rows.filter(stage=defect.stage)
    assert noticed.height == 1
    assert all(sign in noticed["error"][0] for sign in defect.signs), noticed["error"][0]
    assert damage.wells[0] in run.warnings("well_profiles")


def test_a_shifted_platemap_changes_no_profile_and_six_controls_are_too_few_to_notice(tmp_path, tiny_gallery, clean):
    """That it is noticed on a plate with enough controls is shown on real profiles (profiles/test_layout.py)."""
    run, damage = spoilt(tmp_path, tiny_gallery, "shifted_platemap")
    assert run.outcome.success
    wells = unharmed(clean, damage)
    assert len(wells) == 18
    assert run.profiles("well_profiles", wells).equals(clean.profiles("well_profiles", wells))
    assert not run.profiles("normalized_profiles", wells).equals(clean.profiles("normalized_profiles", wells))


@METHODS
@pytest.mark.parametrize("name", [name for name in of("flag") if name != "shifted_platemap"])
def test_a_flag_says_what_looks_wrong_and_removes_nothing(name, method, tmp_path, tiny_gallery, clean):
    run, damage = spoilt(tmp_path, tiny_gallery, name, method=method)
    defect = DEFECTS[name]
    assert run.outcome.success
    assert run.lake.read("site_failures", PLATE).is_empty()
    flags = {sign for sign in defect.signs if sign.startswith("flag_")}
    new = run.flags() - clean.flags()
    assert {flag for _, _, flag in new} == flags
    sentences = [sign for sign in defect.signs if sign not in flags]
    said = run.warnings(defect.stage)
    assert all(sentence in said for sentence in sentences), said
    if flags and damage.wells:
        first = {"A01"} if name == "stuck_stage" else set()  # nobody knows which of the three wells it really is
        assert {well for well, _, _ in new} == set(damage.wells) | first
    if not sentences:
        assert not said
    if method == GALLERY:
        assert_others_are_the_same(run, clean, damage)
    assert_nothing_half_written(run.lake)
