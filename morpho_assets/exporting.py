"""Exports of plates and studies as they were committed last: what `morpho export` and the assets of exports call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import InputError
from morpho_assets.export.about import About
from morpho_assets.export.plate import Plate
from morpho_assets.export.written import Written
from morpho_assets.gallery.source import AboutConfig
from morpho_assets.lake.ledger import State
from morpho_assets.workspace import Workspace


@dataclass(frozen=True)
class Options:
    """What may be chosen; each form takes what concerns it. docs/export.md says what each does."""

    kind: Literal["h5ad", "zarr"] = "h5ad"
    level: Literal["cells", "wells"] | None = None
    corrected: bool = False
    by: str = "Metadata_Perturbation"
    size: int = 128
    most: int | None = None
    alone: bool = False
    raw: bool = False
    project: str = "exported"

    @classmethod
    def of(cls, given: dict[str, Any]) -> Options:
        """From a mapping that may have other keys, too."""
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})


@dataclass
class Exported:
    """What an export wrote: its folder, names made and kept, the files of the folder and their bytes, and what a person
    should know."""

    folder: Path
    made: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)


def export(
    workspace: Workspace,
    form: str,
    plates: Sequence[str] = (),
    studies: Sequence[str] = (),
    out: Path | None = None,
    options: Options | None = None,
    progress: Progress = no_progress,
) -> Exported:
    """Write plates, and as AnnData studies, in a form of `export.FORMS` into a folder (default: exports/<form> beside
    the catalog). What is whole there is kept.

    Raises InputError for a plate that was never made or a study that nobody wrote, and where nothing is named.
    """
    if not plates and not studies:
        expected = "--plate or --study" if form == "anndata" else "--plate"
        raise InputError(f"morpho export {form}", "", "nothing to export", expected, "Name at least one.")
    workspace.require([], studies)
    options = options or Options()
    found = Exported(out or Path(workspace.settings.catalog).parent / "exports" / form)
    state = workspace.state(plates, studies)
    with Written.opened(found.folder) as written:
        for name in plates:
            plate, stale = open_plate(workspace, name, state)
            found.notes += [f"{stale}; what was committed is exported"] if stale else []
            failed = WRITERS[form](plate, written, options, progress)
            found.notes += [f"plate {name}, site {text}; it was left out" for text in failed]
        for name in studies:
            _study(workspace, name, state, written, options, progress)
        found.made, found.kept = written.made, written.kept
    sizes = [path.stat().st_size for path in found.folder.rglob("*") if path.is_file()]
    found.files, found.bytes = len(sizes), sum(sizes)
    return found


def open_plate(workspace: Workspace, name: str, state: State | None = None) -> tuple[Plate, str | None]:
    """A plate as it was committed last, and how it is stale, in words. InputError for one that was never made."""
    state = state or workspace.state([name])
    commits = [commit for commit in state.commits.values() if commit.partition[:2] == ("plate", name)]
    if not commits:
        workspace.require([name], [])
        raise InputError("morpho export", f"plate {name}", "no commit of it", "a plate that was made",
                         f"`morpho run --plate {name}` makes it.")  # fmt: skip
    source = workspace.source(name, state)
    plate = Plate(name, workspace.lake.snapshot(commits), source.store(), source.described())
    return plate, workspace.unsettled(name, state)


# The forms: each writes a plate, and gives a sentence for every site that it left out


def _anndata(plate: Plate, out: Written, options: Options, progress: Progress) -> Sequence[str]:
    from morpho_assets.export.ann_data import export_cells, export_wells

    if options.level != "cells" and (options.level or plate.tables.has("normalized_profiles", plate.name)):
        export_wells(plate, out, options.kind, progress)
    if options.level != "wells" and (options.level or not _profiles_only(plate)):
        export_cells(plate, out, options.kind, progress)
    return ()


def _profiles_only(plate: Plate) -> bool:
    """Whether a plate has profiles that somebody published, and no cells."""
    name = plate.name
    return plate.tables.has("single_cells", name) and not plate.measured.height and plate.tables.has("wells", name)


def _study(workspace: Workspace, name: str, state: State, out: Written, options: Options, progress: Progress) -> None:
    from morpho_assets.export.ann_data import export_study

    tables = workspace.lake.snapshot(each for each in state.commits.values() if each.partition[:2] == ("study", name))
    study = workspace.study(name)
    said = [workspace.source(plate, state).described() for plate in workspace.study_plates(study, state)]
    config = said[0] if all(each == said[0] for each in said) else AboutConfig()  # what is not true of all is not said
    about = About.of(f"study {name}", config, None, False, tables.commits.values())
    export_study(tables, name, list(study.spaces), about, out, options.kind, progress)


def _ome_zarr(plate: Plate, out: Written, options: Options, progress: Progress) -> Sequence[str]:
    from morpho_assets.export.ome_zarr import export_plate

    return export_plate(plate, out, options.corrected, progress)[1]


def _crops(plate: Plate, out: Written, options: Options, progress: Progress) -> Sequence[str]:
    from morpho_assets.export.crops import Windows, export_crops

    windows = Windows(options.by, options.size, options.most, options.alone, not options.raw)
    return export_crops(plate, out, windows, progress)


def _cytotable(plate: Plate, out: Written, options: Options, progress: Progress) -> Sequence[str]:
    from morpho_assets.export.cytotable import export_cytotable

    export_cytotable(plate, out, progress)
    return ()


def _gallery(plate: Plate, out: Written, options: Options, progress: Progress) -> Sequence[str]:
    from morpho_assets.export.gallery_layout import export_gallery

    export_gallery(plate, out, options.project, progress)
    return ()


def _labels(plate: Plate, out: Written, options: Options, progress: Progress) -> Sequence[str]:
    from morpho_assets.export.labels import export_labels

    return export_labels(plate, out, progress)


WRITERS: dict[str, Callable[[Plate, Written, Options, Progress], Sequence[str]]] = {
    "anndata": _anndata,
    "ome-zarr": _ome_zarr,
    "crops": _crops,
    "cytotable": _cytotable,
    "gallery": _gallery,
    "labels": _labels,
}
