"""Every way to lose a plate that was once found, by its number in docs/reliability.md; none of them may come back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from morpho_assets import runs, stages
from morpho_assets.errors import InputError, LakeError
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.lake.leases import Busy
from morpho_assets.lake.ledger import Commit, Partition, Taken
from morpho_assets.publication import publish
from morpho_assets.runs import GateClosed, Run
from morpho_assets.simulator import write_gallery
from morpho_assets.stages import PLATE_STAGES, STAGES
from morpho_assets_tests.object_store import ObjectStore
from morpho_assets_tests.project import Project, make_project
from morpho_assets_tests.simulator.conftest import SMALL

PLATE = "SYN00000001"
WHOLE = Partition("plate", PLATE)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plate of eight wells, a site each."""
    root = tmp_path_factory.mktemp("gallery")
    write_gallery(root, SMALL, seed=3)
    return root


@pytest.fixture
def project(gallery: Path, tmp_path: Path) -> Project:
    """A project with a gallery of its own, which a test may spoil."""
    shutil.copytree(gallery, tmp_path / "gallery")
    (tmp_path / "project").mkdir()
    return make_project(tmp_path / "project", tmp_path / "gallery")


@dataclass(frozen=True)
class Plate:
    """A project's plate: its stages are made and planned in this process."""

    project: Project

    def make(self, *names: str, **how: object) -> list[Commit]:
        run = Run(self.project.workspace, **how)  # type: ignore[arg-type]
        return [run.make(name, WHOLE) for name in names or PLATE_STAGES]

    def stale(self) -> dict[str, tuple[str, ...]]:
        """The stages that are stale for a reason of their own, not only because one before them is."""
        tasks = self.project.workspace.plan([PLATE])
        return {task.stage: task.reasons for task in tasks if not task.waits}

    def mend(self) -> list[str]:
        """Make what is stale until nothing is; the stages that were made, in order."""
        made = []
        while tasks := [task for task in self.project.workspace.plan([PLATE]) if not task.waits]:
            assert len(made) < 20
            run = Run(self.project.workspace)
            for task in tasks:
                run.make(task.stage, WHOLE)
                made.append(task.stage)
        return made

    def commit(self, stage: str) -> Commit:
        found = self.project.workspace.lake.ledger.latest(stage, WHOLE)
        assert found is not None
        return found

    def read(self, table: str) -> pl.DataFrame:
        state = self.project.workspace.state([PLATE])
        return self.project.workspace.lake.snapshot(state.commits.values()).read(table, PLATE)

    def settings(self, **changes: object) -> None:
        file = self.project.folder / "morpho.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))

    def images(self) -> list[Path]:
        return sorted((self.project.folder / "data/gallery").resolve().glob("**/Images/*.tiff"))


@pytest.fixture
def plate(project: Project) -> Plate:
    return Plate(project)


@pytest.fixture(scope="module")
def _made_once(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a project of which everything is made, and a copy of it."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(gallery, folder / "gallery")
    (folder / "project").mkdir()
    plate = Plate(make_project(folder / "project", folder / "gallery"))
    plate.make()
    assert plate.stale() == {}
    shutil.copytree(folder, f"{folder}-copy", symlinks=True)
    return folder, Path(f"{folder}-copy")


@pytest.fixture
def made(_made_once: tuple[Path, Path]) -> Plate:
    """A plate of which everything is made, at the same place for each test: its files are put back as they were."""
    folder, copy = _made_once
    shutil.rmtree(folder)
    shutil.copytree(copy, folder, symlinks=True)
    return Plate(Project(folder / "project"))


def test_2_of_two_runs_of_one_plate_the_second_says_who_is_at_it(plate: Plate, monkeypatch: pytest.MonkeyPatch) -> None:
    plate.make("plate_manifest", "raw_images", "illumination")
    segment = STAGES["masks"].function

    def meanwhile(work: object) -> None:
        with pytest.raises(Busy, match="masks of plate SYN00000001 is being made by"):
            plate.make("masks")
        segment(work)  # type: ignore[arg-type]

    monkeypatch.setitem(stages.STAGES, "masks", replace(STAGES["masks"], function=meanwhile))
    plate.make("masks")
    assert plate.commit("masks").number == 1
    assert plate.commit("masks").sites.total == 8


def test_2_without_a_lease_the_second_run_loses_and_nothing_is_lost(
    plate: Plate, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate.make("plate_manifest", "raw_images", "illumination")
    segment = STAGES["masks"].function
    inner: list[Commit] = []

    def meanwhile(work: object) -> None:
        if not inner:
            inner.append(plate.commit("raw_images"))
            inner[:] = plate.make("masks")
        segment(work)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "held", _no_lease)
    monkeypatch.setitem(stages.STAGES, "masks", replace(STAGES["masks"], function=meanwhile))
    with pytest.raises(Taken, match="committed number 1"):
        plate.make("masks")
    assert plate.commit("masks") == inner[0]
    assert plate.read("masks").height == 8


def test_3_a_resumed_run_on_an_object_store_publishes_every_site(
    plate: Plate, object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": object_store.url}}
    plate.settings(lake=f"s3://bucket/{tmp_path.name}", lake_options=options, compute={"workers": 2})
    plate.make("plate_manifest", "raw_images", "illumination")
    with monkeypatch.context() as patch:
        patch.setattr("morpho_assets.lake.work.map_items", _killed_after(3))
        with pytest.raises(KeyboardInterrupt):
            plate.make("masks")
    assert plate.project.workspace.lake.ledger.latest("masks", WHOLE) is None
    plate.make("masks")
    assert plate.commit("masks").notes["sites worked on"] == 5
    assert plate.read("masks").height == 8
    assert plate.read("site_failures").is_empty()


def test_4_repeating_a_failed_command_does_not_open_its_gate(plate: Plate) -> None:
    for image in plate.images()[:10]:
        image.write_bytes(image.read_bytes()[:200])
    [*_, images] = plate.make("plate_manifest", "raw_images")
    for _ in range(2):
        plate.make("illumination", "image_quality", "masks")
        assert [verdict.check for verdict in plate.commit("masks").closed] == ["few_failed_sites"]
        with pytest.raises(GateClosed, match="2 of 8 sites failed"):
            plate.make("single_cells")
    assert images.closed == ()  # the files are there: only reading them shows that they are cut


def test_4_a_gate_opens_when_the_images_are_restored(plate: Plate) -> None:
    whole = {image: image.read_bytes() for image in plate.images()[:10]}
    for image in whole:
        image.write_bytes(b"")
    plate.make("plate_manifest", "raw_images")
    plate.make("illumination", "image_quality", "masks")
    with pytest.raises(GateClosed):
        plate.make("single_cells")
    for image, body in whole.items():
        image.write_bytes(body)
    plate.mend()
    assert plate.stale() == {}
    assert plate.read("site_failures").is_empty()
    assert plate.read("well_profiles")["Metadata_Count_Failed_Sites"].sum() == 0


def test_4_a_gate_is_waived_by_name(plate: Plate) -> None:
    for image in plate.images()[:10]:
        image.unlink()
    plate.make("plate_manifest", "raw_images")
    ledger = plate.project.workspace.lake.ledger
    with pytest.raises(LakeError, match="no closed gate 'nothing'"):
        ledger.waive(plate.commit("raw_images"), "nothing", "a slip")
    ledger.waive(plate.commit("raw_images"), "few_failed_sites", "the two wells were never imaged")
    plate.make("illumination")


def test_5_a_corrected_platemap_makes_stale_what_reads_it_and_that_alone(made: Plate) -> None:
    masks, cells = made.commit("masks").number, made.commit("single_cells").number
    [file] = (made.project.folder / "data/gallery").resolve().glob("**/platemap/*.txt")
    head, first, second, *rest = file.read_text().splitlines()
    a, b = first.split("\t"), second.split("\t")
    swapped = ["\t".join([a[0], *b[1:]]), "\t".join([b[0], *a[1:]])]
    file.write_text("\n".join([head, *swapped, *rest]) + "\n")
    assert made.stale() == {"plate_manifest": (f"{file.name} changed",)}
    assert made.mend() == ["plate_manifest", "well_profiles"]
    assert (made.commit("masks").number, made.commit("single_cells").number) == (masks, cells)


def test_5_a_file_that_was_only_touched_makes_nothing_after_it_stale(made: Plate) -> None:
    [file] = (made.project.folder / "data/gallery").resolve().glob("**/platemap/*.txt")
    file.write_text(file.read_text())
    assert made.mend() == ["plate_manifest"]


def test_5_restored_images_are_done_again_and_the_others_are_not(plate: Plate) -> None:
    plate.settings(failed_sites=0.5, illumination={"renew": 0.5})
    image = plate.images()[7]
    body = image.read_bytes()
    image.unlink()
    plate.make()
    assert len(plate.commit("raw_images").sites.failed) == 1
    assert plate.read("masks").height == 7
    image.write_bytes(body)
    assert plate.stale() == {"raw_images": ("1 failed image has a new file",)}
    plate.mend()
    assert plate.commit("raw_images").notes["images fetched"] == 1
    assert "under illumination.renew" in plate.commit("illumination").notes["kept"]
    for stage in ("image_quality", "masks", "single_cells"):
        assert plate.commit(stage).notes["sites worked on"] == 1, stage
    assert plate.read("masks").height == 8
    assert plate.read("site_failures").is_empty()


def test_5_a_repaired_plate_is_what_it_would_have_been(plate: Plate, gallery: Path, tmp_path: Path) -> None:
    plate.settings(failed_sites=0.5, illumination={"method": "none"})
    image = plate.images()[7]
    body = image.read_bytes()
    image.unlink()
    plate.make()
    image.write_bytes(body)
    plate.mend()
    (tmp_path / "other").mkdir()
    other = Plate(make_project(tmp_path / "other", gallery, failed_sites=0.5, illumination={"method": "none"}))
    other.make()
    for stage, table in (("masks", "objects"), ("single_cells", "single_cells"), ("well_profiles", "well_profiles"),
                         ("image_quality", "image_quality")):  # fmt: skip
        assert plate.commit(stage).outputs[table].digest == other.commit(stage).outputs[table].digest, table


def test_5_label_images_that_change_make_masks_stale(made: Plate, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for row in made.read("masks").iter_rows(named=True):
        for name in ("nuclei", "cells"):
            path = labels / f"{row['Metadata_Well']}-{row['Metadata_Site']}-{name}.tif"
            path.write_bytes(made.project.workspace.lake.read_bytes(row[name]))
    pattern = "{well}-{site}-"
    made.settings(segmentation={"method": "external", "folder": str(labels), "nuclei": f"{pattern}nuclei.tif",
                                "cells": f"{pattern}cells.tif"})  # fmt: skip
    made.mend()
    assert made.stale() == {}
    first, second = sorted(labels.glob("*-nuclei.tif"))[:2]
    first.write_bytes(second.read_bytes())
    assert made.stale() == {"masks": ("label images changed",)}
    made.mend()
    assert made.commit("masks").notes["sites worked on"] == 1


def test_6_masks_with_another_site_make_the_cells_stale(plate: Plate) -> None:
    plate.settings(failed_sites=0.5)
    image = plate.images()[0]
    body = image.read_bytes()
    image.write_bytes(body[:300])
    plate.make()
    image.write_bytes(body)
    plate.mend()
    assert plate.commit("single_cells").sites.total == 8
    assert plate.commit("masks").content == plate.commit("masks").content
    assert plate.commit("single_cells").reads != ()


def test_6_a_resumed_run_has_the_same_sites_in_every_table(plate: Plate, monkeypatch: pytest.MonkeyPatch) -> None:
    plate.make("plate_manifest", "raw_images", "illumination")
    with monkeypatch.context() as patch:
        patch.setattr("morpho_assets.lake.work.map_items", _killed_after(4))
        with pytest.raises(KeyboardInterrupt):
            plate.make("masks")
    work = sorted((plate.project.folder / "data/lake/.work/masks").glob("**/masks/*.arrow"))
    work[0].unlink()  # as a process that died between the two files of a site
    plate.make("masks")
    assert plate.commit("masks").notes["sites worked on"] == 5
    assert plate.read("masks").height == 8
    assert plate.read("objects").height == plate.read("masks")["Count_Cells"].sum()


def test_7_a_stage_refuses_what_was_made_with_other_settings(made: Plate) -> None:
    made.settings(illumination={"method": "none"})
    with pytest.raises(LakeError, match=r"`illumination.method` regular -> none"):
        made.make("well_profiles")
    assert made.stale() == {"illumination": ("`illumination.method` regular -> none",)}
    made.mend()
    made.make("well_profiles")


def test_7_a_study_refuses_a_plate_made_with_other_settings(made: Plate) -> None:
    study = made.project.folder / "studies/demo.yaml"
    study.write_text(yaml.safe_dump({**yaml.safe_load(study.read_text()), "plates": [PLATE]}))
    assert Run(made.project.workspace).plates("demo") == [PLATE]
    made.settings(measurement="jump")
    with pytest.raises(LakeError, match=rf"single_cells of plate {PLATE} .*`measurement"):
        Run(made.project.workspace).plates("demo")


def test_8_a_broken_or_deleted_file_counts_as_missing(made: Plate) -> None:
    lake = made.project.workspace.lake
    [file] = made.commit("single_cells").outputs["single_cells"].files
    (made.project.folder / "data/lake" / file.path).write_bytes(b"")
    assert "has 0 bytes" in made.stale()["single_cells"][0]
    [label, *_] = (made.project.folder / "data/lake/label_images").glob("**/*.tif")
    label.unlink()
    assert "is gone" in made.stale()["masks"][0]
    assert made.mend()[0] == "masks"
    assert made.stale() == {}
    assert lake.damage(made.commit("single_cells"), deep=True) is None


def test_8_a_commit_that_cannot_be_read_counts_as_none(made: Plate) -> None:
    folder = made.project.folder / f"data/lake/ledger/commits/plate={PLATE}"
    (folder / "well_profiles.00000001.json").write_bytes(b"")
    assert made.stale() == {"well_profiles": ("missing",)}
    made.mend()
    assert made.commit("well_profiles").number == 2


def test_8_names_that_nobody_knows_register_nothing(plate: Plate) -> None:
    for arguments, match in ((["--plate", "TYPO"], "TYPO"), (["--study", "nosuch"], "nosuch")):
        process = plate.project.start("run", *arguments)
        output, _ = process.communicate()
        assert process.returncode == 1
        assert match in output
        assert "Traceback" not in output
    assert "TYPO" not in plate.project.run("plates", "list")


def test_9_a_failing_plate_ends_neither_the_others_nor_the_catalog(tmp_path: Path) -> None:
    design = SMALL.model_copy(update={"plates_per_batch": 2})
    root = tmp_path / "gallery"
    root.mkdir()
    write_gallery(root, design, seed=3)
    (tmp_path / "project").mkdir()
    project = make_project(tmp_path / "project", root)
    for image in sorted(root.glob(f"**/{PLATE}*/**/Images/*.tiff"))[:20]:
        image.unlink()
    process = project.start("run", "--plate", PLATE, "--plate", "SYN00000002")
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert f"plate {PLATE}: " in output
    assert "sites failed (limit 10%)" in output, output
    failures = project.run("sql", "SELECT count(*) AS n FROM site_failures")
    assert "20" in failures
    profiles = project.run("sql", "SELECT Metadata_Plate, count(*) AS wells FROM well_profiles GROUP BY ALL")
    assert "SYN00000002" in profiles
    assert PLATE not in profiles


@pytest.mark.parametrize("name", ["[brackets]", "two words", "quo'te", "ümlaut ß", "a&b;c"])
def test_11_a_project_lies_in_a_folder_of_any_name(gallery: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copytree(gallery, folder / "plates [of] ours")
    project = make_project(folder)
    plate = Plate(project)
    file = folder / "morpho.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["sources"][0]["root"] = "plates [of] ours"
    file.write_text(yaml.safe_dump(settings))
    assert project.workspace.plates() == [PLATE]
    plate.make("plate_manifest", "raw_images", "illumination", "masks")
    assert plate.read("masks").height == 8


def test_11_two_sources_of_one_name_are_refused(plate: Plate) -> None:
    file = plate.project.folder / "morpho.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["sources"] *= 2
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match="two sources named demo"):
        _ = plate.project.workspace


def test_11_a_home_folder_and_relative_folders_are_those_of_the_settings(
    plate: Plate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plate.settings(lake="~/lake", reports="results")
    settings = plate.project.workspace.settings
    assert settings.lake == str(tmp_path / "home/lake")
    assert settings.reports == str(plate.project.folder / "results")


def test_11_a_plate_cannot_leave_its_folder(plate: Plate) -> None:
    for name in ("../up", "..", "a/b"):
        with pytest.raises(InputError):
            plate.project.workspace.require([name], [])


def test_12_an_option_that_stood_for_the_same_before_makes_nothing_stale(
    made: Plate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = made.project.workspace.lake.ledger
    commit = made.commit("illumination")
    without = {name: value for name, value in commit.settings.items() if name != "renew"}
    old = commit.model_copy(update={"settings": without, "number": 2, "before": 1})
    ledger.commit(old)  # as a version wrote it that had no such option
    assert made.stale() == {"illumination": ("`illumination.renew` (not set) -> 0.05",)}
    monkeypatch.setitem(stages.STAGES, "illumination", replace(STAGES["illumination"], before={"renew": 0.05}))
    assert made.stale() == {}
    made.settings(illumination={"renew": 0.2})
    assert made.stale() == {"illumination": ("`illumination.renew` 0.05 -> 0.2",)}


def test_12_a_raised_code_version_makes_its_stage_stale(made: Plate, monkeypatch: pytest.MonkeyPatch) -> None:
    now = STAGES["masks"].code_version
    monkeypatch.setitem(stages.STAGES, "masks", replace(STAGES["masks"], code_version=f"{now}1"))
    assert made.stale() == {"masks": (f"code {now} -> {now}1",)}


def test_made_again_with_equal_content_nothing_after_it_is_stale(made: Plate) -> None:
    made.make("masks", force=True)
    assert made.commit("masks").number == 2
    assert made.commit("masks").content == made.project.workspace.lake.ledger.read("masks", WHOLE, 1).content
    assert made.stale() == {}


def test_what_is_current_is_not_made_again(made: Plate) -> None:
    before = [made.commit(name) for name in PLATE_STAGES]
    assert made.make() == before


def test_a_failed_attempt_is_recorded_with_its_sentence(plate: Plate) -> None:
    [file] = (plate.project.folder / "data/gallery").resolve().glob("**/platemap/*.txt")
    text = file.read_text()
    file.write_text("nonsense")
    with pytest.raises(InputError):
        plate.make("plate_manifest")
    state = plate.project.workspace.state([PLATE])
    [attempt] = state.attempts["plate_manifest", WHOLE]
    assert file.name in attempt.sentence
    [task] = [task for task in plate.project.workspace.plan([PLATE]) if task.stage == "plate_manifest"]
    assert task.recipe == attempt.recipe
    file.write_text(text)
    [task] = [task for task in plate.project.workspace.plan([PLATE]) if task.stage == "plate_manifest"]
    assert task.recipe != attempt.recipe  # a changed input clears it


def _killed_after(number: int) -> Callable[..., Iterator[object]]:
    """`map_items` in a process that is interrupted after some sites."""
    from morpho_assets.compute import map_items

    def interrupted(*arguments: object, **options: object) -> Iterator[object]:
        items, *rest = arguments[1:]
        yield from map_items(arguments[0], items[:number], *rest, **options)  # type: ignore[arg-type, index]
        raise KeyboardInterrupt

    return interrupted


class _no_lease:
    def __init__(self, *arguments: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def test_7_sql_never_mixes_new_masks_with_cells_of_the_old_ones(made: Plate) -> None:
    made.settings(segmentation={"method": "watershed", "nuclei": {"threshold": {"correction": 1.5}}})
    made.make("masks")
    workspace = made.project.workspace
    publish(workspace)
    left_out = query_catalog(
        workspace.settings.catalog, "SELECT stage, left_out_because AS why FROM partitions WHERE NOT published"
    )
    assert left_out["stage"].to_list() == ["single_cells", "well_profiles"]
    assert "masks was made with other settings" in left_out["why"][0]
    assert query_catalog(workspace.settings.catalog, "SELECT count(*) AS n FROM single_cells")["n"][0] == 0
    made.mend()
    publish(made.project.workspace)
    assert query_catalog(workspace.settings.catalog, "SELECT count(*) AS n FROM single_cells")["n"][0] > 0
