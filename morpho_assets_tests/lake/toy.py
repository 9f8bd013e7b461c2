"""A platform in little: five stages that take milliseconds, over plates whose images are words in text files.

The manifest and the images are fetched by the platform's own stages; masks are made site by site, profiles and a
study's space from tables. Everything else, from the plan to the ledger, is the platform itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from morpho_assets import workspace as workspaces
from morpho_assets.compute import ComputeConfig
from morpho_assets.errors import ImageError
from morpho_assets.gallery.images import ImagesConfig
from morpho_assets.gallery.sources import SamplesheetSource
from morpho_assets.imaging.sites import Site, SiteReader, complete_sites
from morpho_assets.lake.digests import digest
from morpho_assets.lake.files import Files, LocalFiles
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work, process_sites
from morpho_assets.settings import Settings
from morpho_assets.stages import STAGES, Input, Stage
from morpho_assets.workspace import Workspace
from morpho_assets_tests.lake.faults import lake_over

PLATES = ("P1", "P2")
SITES = (("A01", 1), ("B01", 1), ("B01", 2))
STUDY = "S"
ALL = [Partition("plate", "P1"), Partition("plate", "P2"), Partition("study", STUDY)]


class ToySettings(Settings):
    """The settings, and two more."""

    factor: int = 1
    shift: int = 0


def label_plate(work: Work) -> None:
    sites = complete_sites(work.inputs, work.key)
    function = partial(_label, work.settings["factor"], SiteReader(work.lake, work.source.store()), work.partition)
    finished = process_sites(work, sites, function, ("objects", "masks"), lambda site: site.sha256)
    work.write_stream("objects", finished.frames("objects"))
    work.write_stream("masks", finished.frames("masks"))


def _label(factor: int, reader: SiteReader, partition: Partition, site: Site) -> dict[str, pl.DataFrame]:
    """As many cells as the image says; a bad one cannot be used."""
    word = reader.content(site, 0).decode()
    if not word.isdigit():
        raise ImageError(site.paths[0], f"is {word}")
    name = f"{site.key}_nuclei.tif"
    path = reader.lake.write_named(f"label_images/{partition.folder}", name, f"{word} times {factor}".encode())
    cells = [{**site.place, "ObjectNumber": n + 1, "Nuclei_Area": int(word) * factor} for n in range(int(word) % 4)]
    objects = pl.DataFrame(cells) if cells else table("objects").empty()
    return {"objects": objects, "masks": pl.DataFrame([{**site.place, "nuclei": path, "Count_Cells": len(cells)}])}


def profile_plate(work: Work) -> None:
    sums = work.read("objects").group_by("Metadata_Well").agg(pl.col("Nuclei_Area").sum().alias("Nuclei_Sum"))
    failed = work.inputs.read("site_failures", work.key)["Metadata_Well"].value_counts(
        name="Metadata_Count_Failed_Sites"
    )
    wells = work.read("wells").join(sums, on="Metadata_Well", how="left").join(failed, on="Metadata_Well", how="left")
    shifted = pl.col("Nuclei_Sum").fill_null(0).cast(pl.Float32) + work.settings["shift"]
    work.write("well_profiles", wells.drop("described").with_columns(shifted, pl.col("^.*_Failed_Sites$").fill_null(0)))


def join_plates(work: Work) -> None:
    rows = work.inputs.scan("well_profiles", sorted(work.source)).collect()
    labels = {"study": work.key, "space": "toy", "step": "selected"}
    work.write("profiles", rows.with_columns(pl.lit(text).alias(name) for name, text in labels.items()))


TOY = {
    "plate_manifest": STAGES["plate_manifest"],
    "raw_images": STAGES["raw_images"],
    "masks": Stage(
        "masks", "plate", "images", label_plate, "", ("masks", "objects", "site_failures"),
        (Input("plate_manifest", ("sites",)), Input("raw_images", ("image_files",))),
        settings=lambda target: {"factor": target.settings.factor}, checks=STAGES["masks"].checks,
    ),
    "well_profiles": Stage(
        "well_profiles", "plate", "profiles", profile_plate, "", ("well_profiles",),
        (Input("plate_manifest", ("wells", "sites")), Input("raw_images", ("site_failures",)),
         Input("masks", ("objects", "site_failures"))),
        settings=lambda target: {"shift": target.settings.shift},
    ),
    "feature_space": Stage(
        "feature_space", "study", "spaces", join_plates, "", ("profiles",),
        (Input("well_profiles", ("well_profiles",), "plates"),),
    ),
}  # fmt: skip
STAGES_OF = {"plate": ["plate_manifest", "raw_images", "masks", "well_profiles"], "study": ["feature_space"]}


@contextmanager
def toy_stages() -> Iterator[None]:
    """The platform's stages are these while the block runs."""
    with (
        patch.dict(STAGES, TOY, clear=True),
        patch.object(workspaces, "PLATE_STAGES", tuple(STAGES_OF["plate"])),
        patch.object(workspaces, "STUDY_STAGES", tuple(STAGES_OF["study"])),
    ):
        yield


@dataclass
class Toy:
    """A project: sources in `folder`, a lake on `files`, and settings that can be changed."""

    folder: Path
    files: Files
    settings: ToySettings

    @classmethod
    def make(cls, folder: Path, files: Files | None = None) -> Toy:
        """A project of two plates of four sites, of which nothing is made, and a study of both."""
        sources = []
        for number, plate in enumerate(PLATES):
            place = folder / plate
            place.mkdir(parents=True)
            for index, (well, site) in enumerate(SITES):
                (place / f"{well}-{site}").write_text(str(4 * number + index))
            sheet = str(place / "sheet.csv")
            sources.append(SamplesheetSource(kind="samplesheet", name=plate, path=sheet, negative_controls=()))
        (folder / "studies").mkdir()
        plates = ", ".join(PLATES)
        study = f"{{name: {STUDY}, title: Toy, plates: [{plates}], spaces: {{}}, evaluators: {{}}}}"
        (folder / f"studies/{STUDY}.yaml").write_text(study)
        files = files or LocalFiles(str(folder / "lake"))
        settings = ToySettings(
            sources=tuple(sources), compute=ComputeConfig(workers=1), failed_sites=0.5, lake=files.url(""),
            images=ImagesConfig(folder=str(folder / "images"), downloads=1), catalog=str(folder / "catalog.duckdb"),
            studies=str(folder / "studies"), reports=str(folder / "reports"),
        )  # fmt: skip
        toy = cls(folder, files, settings)
        for plate in PLATES:
            toy.write_sheet(plate, "water")
        return toy

    def write_sheet(self, plate: str, treatment: str, without: int = 0) -> None:
        """Describe a plate anew: what its wells got, without some of its last sites."""
        rows = ["channel,path,source,batch,plate,well,site,Metadata_Perturbation"]
        rows += [f"DNA,{well}-{site},lab,B,{plate},{well},{site},{treatment}"
                 for well, site in SITES[: len(SITES) - without]]  # fmt: skip
        (self.folder / plate / "sheet.csv").write_text("\n".join(rows) + "\n")

    def image(self, plate: str, index: int) -> Path:
        well, site = SITES[index]
        return self.folder / plate / f"{well}-{site}"

    def workspace(self, files: Files | None = None) -> Workspace:
        """What a new process opens: nothing is remembered."""
        lake = Lake(self.files.url("")) if files is None and isinstance(self.files, LocalFiles) else lake_over(
            files or self.files)  # fmt: skip
        return Workspace(self.settings, lake, self.folder)

    def elsewhere(self, folder: Path) -> Toy:
        """The same sources and settings over an empty lake."""
        return replace(self, files=LocalFiles(str(folder)))


def rows_of(workspace: Workspace, commit: Commit) -> dict[str, list[str]]:
    """The rows of a commit's tables, each as text, sorted."""
    snapshot = workspace.lake.snapshot([commit])
    return {name: sorted(map(str, snapshot.read(name, commit.partition.key).rows())) for name in commit.outputs}


def said(commit: Commit) -> dict[str, Any]:
    """What a commit says, without who says it and when, and which numbers others have."""
    kept = commit.model_dump(exclude={"number", "before", "writer", "who", "at", "notes", "reads", "outputs"})
    reads = sorted((read.stage, read.key, digest(read.tables)) for read in commit.reads)
    return {**kept, "reads": reads, "outputs": {name: output.digest for name, output in commit.outputs.items()}}


def problems(workspace: Workspace, commits: Mapping[Any, Commit]) -> list[str]:
    """What is wrong with commits that stand in a lake: sites that they lack, files that are not what they name."""
    found = []
    for (stage, partition), commit in commits.items():
        where = f"{stage} of {partition}, commit {commit.number}"
        damage = workspace.lake.damage(commit, deep=True)
        if damage:
            found.append(f"{where}: {damage}")
            continue
        keys = workspace.lake.ledger.keys(commit)
        found += [f"{where}: {text}" for text in _sites_amiss(workspace, commit, set(keys["sites"]))]
        for path in keys["files"]:
            named = path.rpartition("-")[2].partition(".")[0]
            if digest_of_file(workspace.lake, path) != named:
                found.append(f"{where}: {path} holds another content than its name says")
    return found


def _sites_amiss(workspace: Workspace, commit: Commit, keys: set[str]) -> Iterator[str]:
    if commit.sites.total != len(keys) or commit.sites.digest != digest(sorted(keys)):
        yield "its sites are not those of its keys"
    if not set(commit.sites.failed) <= keys:
        yield "a site failed that it does not have"
    of_sites = {"raw_images": "image_files", "masks": "masks"}
    if commit.stage in of_sites:
        rows = workspace.lake.snapshot([commit]).read(of_sites[commit.stage], commit.partition.key)
        done = [f"{well}-{site}" for well, site in rows.select("Metadata_Well", "Metadata_Site").rows()]
        if sorted(done) != sorted(keys - set(commit.sites.failed)):
            yield f"done are {sorted(done)} and failed {sorted(commit.sites.failed)} of {sorted(keys)}"


def digest_of_file(lake: Lake, path: str) -> str:
    from morpho_assets.lake.digests import digest_bytes

    return digest_bytes(lake.read_bytes(path))


def bury(files: Files) -> None:
    """Whoever holds a lease is dead: its process was this one, which goes on."""
    for path in files.find("ledger/leases"):
        lease = json.loads(files.read(path))
        files.write(path, json.dumps({**lease, "process": NOBODY}).encode())


NOBODY = 2**22 + 1
"""A process that there cannot be."""
