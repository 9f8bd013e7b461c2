"""Every named defect through the real graph: noticed where the catalogue says, with a message, and without spreading.

Images are divided by the gallery's own functions where wells are compared with those of a whole plate: functions that
are estimated from a plate's images, as they are by default, feel every image of it. Defects come one after the other to
one plate, which is restored in between: what each of them costs is what it changes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from morpho_assets.assets import pictures
from morpho_assets.assets.launching import launch
from morpho_assets.assets.resources import FORCE
from morpho_assets.compute import Progress, no_progress
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Partition
from morpho_assets.profiles.features import feature_columns
from morpho_assets.simulator.defects import DEFECTS, Damage, apply_defect
from morpho_assets.stages import PLATE_STAGES, STAGES
from morpho_assets_tests.project import Project, make_project

pytestmark = pytest.mark.slow
PLATE = "SYN00000001"
COUNTS = ["Metadata_Count_Cells", "Metadata_Count_Sites", "Metadata_Count_Failed_Sites"]


@dataclass(frozen=True)
class Run:
    """What a run of all stages of the plate said (None: all is well), what it made, the tables there are then, and the
    pictures that could not be drawn."""

    message: str | None
    made: frozenset[str]
    tables: Snapshot
    undrawn: tuple[str, ...]

    def read(self, table: str) -> pl.DataFrame:
        return self.tables.read(table, PLATE)

    def warnings(self, stage: str) -> str:
        verdicts = self.tables.commit(stage, Partition("plate", PLATE)).verdicts
        return "\n".join(f"{verdict.check}: {verdict.text}" for verdict in verdicts if not verdict.passed)

    def flags(self) -> set[tuple[str, str, str]]:
        """(well, channel, flag) of every raised flag."""
        quality = self.read("image_quality")
        names = [name for name in quality.columns if name.startswith("flag_")]
        long = quality.unpivot(names, index=["Metadata_Well", "channel"], variable_name="flag").filter("value")
        return set(long.select("Metadata_Well", "channel", "flag").iter_rows())

    def profiles(self, table: str, wells: set[str]) -> pl.DataFrame:
        """Counts and features of these wells, in order."""
        profiles = self.read(table).filter(pl.col("Metadata_Well").is_in(list(wells)))
        return profiles.select("Metadata_Well", *COUNTS, *sorted(feature_columns(profiles))).sort("Metadata_Well")


class Silent:
    """Nobody is told of progress."""

    def of(self, context: object) -> Progress:
        return no_progress


@dataclass(frozen=True)
class Plate:
    """A project whose gallery, a copy of `whole`, can be spoilt and restored; runs without pictures are faster."""

    project: Project
    gallery: Path
    whole: Path
    instance: dg.DagsterInstance
    pictures: bool

    def run(self, **tags: str) -> Run:
        """All stages, one after the other in this process, as `morpho run` makes them."""
        before = self.numbers()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MORPHO_SETTINGS", str(self.project.folder / "morpho.yaml"))
            if not self.pictures:
                patch.setattr(pictures, "_PICTURES", {})
            message = launch(self.instance, Silent(), PLATE_STAGES, PLATE, tags)
        made = {name for name, number in self.numbers().items() if before.get(name) != number}
        return Run(message, frozenset(made), self.project.tables(PLATE), self.undrawn())

    def undrawn(self) -> tuple[str, ...]:
        events = (self.instance.get_latest_materialization_event(dg.AssetKey(name)) for name in PLATE_STAGES)
        shown = [event.asset_materialization.metadata for event in events if event is not None]
        return tuple(metadata["pictures"].value for metadata in shown if "pictures" in metadata)

    def numbers(self) -> dict[str, int]:
        return {name: commit.number for (name, _), commit in self.project.tables(PLATE).commits.items()}

    def spoilt(self, name: str, **tags: str) -> tuple[Run, Damage]:
        """What comes of one defect, on an otherwise whole plate."""
        self.restore()
        damage = apply_defect(self.gallery, name, seed=1)
        return self.run(**tags), damage

    def restore(self, copy: str = "") -> Path:
        """Every file of the gallery, or of another copy of it, as it was, with its time."""
        gallery = self.gallery.with_name(copy or self.gallery.name)
        names = {path.relative_to(self.whole) for path in self.whole.rglob("*") if path.is_file()}
        for path in [path for path in gallery.rglob("*") if path.is_file()]:
            if path.relative_to(gallery) not in names:
                path.unlink()
        for name in names:
            here, there = gallery / name, self.whole / name
            if not here.exists() or here.stat().st_mtime_ns != there.stat().st_mtime_ns:
                here.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(there, here)
        return gallery

    def free(self, name: str, taken: Iterable[str]) -> int:
        """A seed with which a defect spoils none of these wells, found out on a copy."""
        for seed in range(100):
            if not set(apply_defect(self.restore("trial"), name, seed).wells) & set(taken):
                return seed
        raise AssertionError(f"no well is free for {name}")


def new_plate(folder: Path, whole: Path, with_pictures: bool, **settings: object) -> Iterator[Plate]:
    gallery = Path(shutil.copytree(whole, folder / "gallery"))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("plate", [PLATE])
        yield Plate(make_project(folder / "project", gallery, **settings), gallery, whole, instance, with_pictures)


@pytest.fixture(scope="module")
def plate(tmp_path_factory, tiny_gallery) -> Iterator[Plate]:
    """A plate that is divided by the gallery's functions."""
    yield from new_plate(tmp_path_factory.mktemp("gallery_s"), tiny_gallery, False, illumination={"method": "gallery"})


@pytest.fixture(scope="module")
def estimated(tmp_path_factory, tiny_gallery) -> Iterator[Plate]:
    """A plate that is divided by functions that are estimated from it."""
    yield from new_plate(tmp_path_factory.mktemp("estimated"), tiny_gallery, True)


@pytest.fixture(scope="module")
def clean(plate) -> Run:
    plate.restore()
    return plate.run()


def of(outcome: str) -> list[str]:
    return [name for name, defect in DEFECTS.items() if defect.outcome == outcome]


def after(stage: str) -> set[str]:
    """The stages that read a stage's results, however many stages later."""
    direct = {name for name in PLATE_STAGES if stage in {each.stage for each in STAGES[name].inputs}}
    return direct.union(*(after(name) for name in direct))


def unharmed(clean: Run, damage: Damage) -> set[str]:
    """Wells whose images the defect did not touch; one of all images names the folder and no well."""
    wells = set(clean.read("well_profiles")["Metadata_Well"])
    return set() if damage.path.is_dir() and not damage.wells else wells - set(damage.wells)


def assert_others_are_the_same(run: Run, clean: Run, damage: Damage) -> None:
    wells = unharmed(clean, damage)
    assert run.profiles("well_profiles", wells).equals(clean.profiles("well_profiles", wells))
    # A control well that is hurt moves the centre and the scale of its plate, so the others' units.
    controls = clean.read("wells").filter(Metadata_control_type="negcon")["Metadata_Well"]
    if not set(damage.wells) & set(controls):
        assert run.profiles("normalized_profiles", wells).equals(clean.profiles("normalized_profiles", wells))


def assert_nothing_half_written(run: Run) -> None:
    root = Path(run.tables.lake.root)
    assert not [path for path in root.rglob("*") if "aside" in path.name]


def test_a_whole_plate_passes_every_check_in_silence(clean):
    assert clean.message is None
    assert clean.made == set(PLATE_STAGES)
    assert clean.read("site_failures").is_empty()
    assert {stage: clean.warnings(stage) for stage in PLATE_STAGES} == dict.fromkeys(PLATE_STAGES, "")


@pytest.mark.parametrize("name", of("error"))
def test_an_error_stops_the_plate_with_one_message(name, plate, clean):
    # A manifest that was read watches its own files: of another batch, or of images that were moved, it only knows
    # when it is read anew.
    unseen = name in ("same_plate_twice", "projected_images")
    run, _ = plate.spoilt(name, **({FORCE: "true"} if unseen else {}))
    defect, message = DEFECTS[name], run.message
    assert message is not None
    assert all(sign in message for sign in defect.signs), message
    assert message.startswith(defect.stage)
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    if "sites failed" in message:  # the gate names the first file and says what to do in its own words
        assert defect.stage in run.made
    else:
        assert re.search(r" failed: .+: found .+; expected .+\. [A-Z].+\.$", message)
        assert defect.stage not in run.made
    assert not run.made & after(defect.stage)
    assert_nothing_half_written(run)
    if defect.stage == "well_profiles":
        assert run.read("single_cells").equals(clean.read("single_cells"))


@pytest.mark.parametrize("name", ["missing_image_folder", "black_image", "missing_wells"])
def test_what_is_restored_gives_the_whole_plate_s_values_again(name, plate, clean):
    plate.spoilt(name)
    plate.restore()
    run = plate.run()
    assert run.message is None
    for table in ("image_quality", "objects", "single_cells", "well_profiles", "normalized_profiles"):
        assert run.read(table).equals(clean.read(table))


@pytest.fixture(scope="module", params=["plate", "estimated"], ids=["gallery's functions", "estimated ones"])
def spoilt_sites(request) -> Iterator[tuple[Run, dict[str, Damage]]]:
    """One plate with every defect that costs a site, each in a well of its own, and where each one is."""
    plate: Plate = request.getfixturevalue(request.param)
    plate.restore()
    damages: dict[str, Damage] = {}
    for name in sorted(of("site_failure"), key=lambda name: name == "missing_image"):  # last: it changes what is there
        damages[name] = apply_defect(plate.gallery, name, plate.free(name, wells_of(damages)))
    file = plate.project.folder / "morpho.yaml"
    strict = file.read_text()
    file.write_text(strict + "failed_sites: 1.0\n")
    run = plate.run()
    file.write_text(strict)
    return run, damages


def wells_of(damages: dict[str, Damage]) -> list[str]:
    return [well for damage in damages.values() for well in damage.wells]


def test_site_failures_leave_every_other_well_as_it_was(spoilt_sites, clean):
    run, damages = spoilt_sites
    assert (run.message, run.undrawn) == (None, ())
    hurt = wells_of(damages)
    assert len(set(hurt)) == len(damages)
    assert set(run.read("site_failures")["Metadata_Well"]) == set(hurt)
    lost = run.read("well_profiles").filter(Metadata_Count_Failed_Sites=1)
    assert set(lost["Metadata_Well"]) == set(hurt)
    assert (lost["Metadata_Count_Cells"] == 0).all()
    if set(run.read("illumination_functions")["method"]) == {"gallery"}:
        assert_others_are_the_same(run, clean, Damage(PLATE, tuple(hurt), damages["missing_image"].path))
    assert_nothing_half_written(run)


@pytest.mark.parametrize("name", of("site_failure"))
def test_a_site_failure_is_one_row_of_its_stage(name, spoilt_sites):
    run, damages = spoilt_sites
    defect, damage = DEFECTS[name], damages[name]
    rows = run.read("site_failures").filter(Metadata_Well=damage.wells[0])
    assert {Path(path).name for path in rows["path"]} == {damage.path.name}
    noticed = rows.filter(stage=defect.stage)
    assert noticed.height == 1
    assert all(sign in noticed["error"][0] for sign in defect.signs), noticed["error"][0]
    assert damage.wells[0] in run.warnings("well_profiles")


def test_a_shifted_platemap_changes_no_profile_and_six_controls_are_too_few_to_notice(plate, clean):
    """That it is noticed on a plate with enough controls is shown on real profiles (profiles/test_layout.py)."""
    run, damage = plate.spoilt("shifted_platemap")
    assert run.message is None
    wells = unharmed(clean, damage)
    assert len(wells) == 18
    assert run.profiles("well_profiles", wells).equals(clean.profiles("well_profiles", wells))
    assert not run.profiles("normalized_profiles", wells).equals(clean.profiles("normalized_profiles", wells))


FLAGS = [name for name in of("flag") if name != "shifted_platemap"]
WIDE = ["swapped_channels", "stuck_stage", "lost_stain", "shifted_channel"]  # all of the plate, or many of its wells


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_says_what_looks_wrong_and_removes_nothing(name, plate, clean):
    run, damage = plate.spoilt(name)
    assert_flagged(run, clean, {name: damage})
    assert_others_are_the_same(run, clean, damage)


@pytest.mark.parametrize("name", WIDE)
def test_so_it_does_with_functions_that_are_estimated(name, estimated, clean):
    run, damage = estimated.spoilt(name)
    assert_flagged(run, clean, {name: damage})


def test_so_do_all_flags_of_single_wells_together(estimated, clean):
    """In the order of FLAGS. Half of the sixteen sites are spoilt, which widens the plate's own spread: where they lie
    otherwise a fibre can stay under the limit (a z of 7.7 where 8 is asked)."""
    estimated.restore()
    names = sorted((name for name in FLAGS if name not in WIDE), key=lambda name: name != "missing_wells")
    damages: dict[str, Damage] = {}
    for name in names:
        seed = 1 if name == "unknown_compound" else estimated.free(name, wells_of(damages))
        damages[name] = apply_defect(estimated.gallery, name, seed)
    assert_flagged(estimated.run(), clean, damages)


def assert_flagged(run: Run, clean: Run, damages: dict[str, Damage]) -> None:
    """All that the defects should raise is raised, where they are, and nothing else."""
    assert (run.message, run.undrawn) == (None, ())
    assert run.read("site_failures").is_empty()
    new = {(well, flag) for well, _, flag in run.flags() - clean.flags()}
    expected = set()
    for name, damage in damages.items():
        flags = {sign for sign in DEFECTS[name].signs if sign.startswith("flag_")}
        first = {"A01"} if name == "stuck_stage" else set()  # nobody knows which of the three wells it really is
        wells = {*damage.wells, *first} or {well for well, flag in new if flag in flags}
        assert wells or not flags
        expected |= {(well, flag) for well in wells for flag in flags}
    assert new == expected
    for stage in PLATE_STAGES:
        signs = [sign for name in damages for sign in DEFECTS[name].signs if DEFECTS[name].stage == stage]
        sentences = [sign for sign in signs if not sign.startswith("flag_")]
        said = run.warnings(stage)
        assert all(sentence in said for sentence in sentences), said
        if not sentences and signs:
            assert not said
    assert_nothing_half_written(run)
