"""The command that writes what was made for other tools: `morpho export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morpho_assets.errors import InputError

if TYPE_CHECKING:
    from morpho_assets.compute import Progress
    from morpho_assets.export.plate import Plate
    from morpho_assets.export.written import Written
    from morpho_assets.lake.ledger import State
    from morpho_assets.workspace import Workspace

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]
ABOUT = "write plates or studies for other tools; what is whole already is kept, so that a killed export goes on"
NOTES = "docs/export.md says what each form holds, and which tools read it."


def add_export_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    export = command("export", _export, ABOUT)
    export.epilog = NOTES
    forms = export.add_subparsers(required=True, metavar="form", dest="form")

    def form(name: str, text: str, studies: bool = False) -> argparse.ArgumentParser:
        added = forms.add_parser(name, help=text, description=text)
        added.add_argument("--plate", action="append", default=[], help="a barcode; may be repeated")
        if studies:
            added.add_argument("--study", action="append", default=[], help="a study; may be repeated")
        added.add_argument("--out", type=Path, help=f"the folder (default: exports/{name} beside the catalog)")
        return added

    anndata = form("anndata", "AnnData of cells and wells of plates, of wells and treatments of studies", studies=True)
    anndata.add_argument("--as", dest="kind", choices=["h5ad", "zarr"], default="h5ad", help="(default: %(default)s)")
    only = "write only one of them (default: what there is)"
    anndata.add_argument("--level", choices=["cells", "wells"], help=only)

    zarr = form("ome-zarr", "OME-Zarr 0.5 plates: images and label images, for napari and other viewers")
    zarr.add_argument("--corrected", action="store_true", help="divide images by the illumination functions")

    crops = form("crops", "single cells cut out as TIFF, a folder for each class, for training elsewhere")
    crops.add_argument("--by", default="Metadata_Perturbation", help="column of `wells` with the class (%(default)s)")
    crops.add_argument("--size", type=int, default=128, help="side of a window, px (default: %(default)s)")
    crops.add_argument("--most", type=int, help="cells of a class at most (default: all)")
    crops.add_argument("--alone", action="store_true", help="black out the neighbours")
    crops.add_argument("--raw", action="store_true", help="do not divide by the illumination functions")
    form("cytotable", "single cells in Parquet as CytoTable writes them, for pycytominer")
    gallery = form("gallery", "the Gallery's folders: load_data, platemap, CellProfiler's tables, backend, profiles")
    gallery.add_argument("--project", default="exported", help="name of the project's folder (default: %(default)s)")
    form("labels", "a label image for each compartment as TIFF, with a load_data, for CellProfiler")


def _export(options: argparse.Namespace) -> None:
    from morpho_assets.export.written import Written
    from morpho_assets.terminal import TerminalProgress
    from morpho_assets.workspace import Workspace

    studies: list[str] = getattr(options, "study", [])
    if not options.plate and not studies:
        expected = "--plate or --study" if hasattr(options, "study") else "--plate"
        raise InputError(f"morpho export {options.form}", "", "nothing to export", expected, "Name at least one.")
    workspace = Workspace.open(Path(options.settings).expanduser().resolve())
    workspace.require([], studies)
    out = options.out or Path(workspace.settings.catalog).parent / "exports" / options.form
    state = workspace.state(options.plate, studies)
    with Written.opened(out) as written, TerminalProgress() as progress:
        for name in options.plate:
            _PLATES[options.form](_plate(workspace, name, state), written, options, progress)
        for name in studies:
            _study(workspace, name, state, written, options, progress)
    kept = f", {written.kept} were there already" if written.kept else ""
    print(f"{written.made} written{kept}: {out}")


def _plate(workspace: Workspace, name: str, state: State) -> Plate:
    """A plate as it was committed last. Raises InputError for one that was never made; says where it is stale."""
    from morpho_assets.export.plate import Plate

    commits = [commit for commit in state.commits.values() if commit.partition[:2] == ("plate", name)]
    if not commits:
        workspace.require([name], [])
        raise InputError("morpho export", f"plate {name}", "no commit of it", "a plate that was made",
                         f"`morpho run --plate {name}` makes it.")  # fmt: skip
    stale = workspace.unsettled(name, state)
    if stale:
        print(f"note: {stale}; what was committed is exported", file=sys.stderr)
    source = workspace.source(name, state)
    return Plate(name, workspace.lake.snapshot(commits), source.store(), source.described())


def _anndata(plate: Plate, out: Written, options: argparse.Namespace, progress: Progress) -> None:
    from morpho_assets.export.ann_data import export_cells, export_wells

    if options.level != "cells" and (options.level or plate.tables.has("normalized_profiles", plate.name)):
        export_wells(plate, out, options.kind, progress)
    if options.level != "wells" and (options.level or not _profiles_only(plate)):
        export_cells(plate, out, options.kind, progress)


def _profiles_only(plate: Plate) -> bool:
    """Whether a plate has profiles that somebody published, and no cells."""
    name = plate.name
    return plate.tables.has("single_cells", name) and not plate.measured.height and plate.tables.has("wells", name)


def _study(
    workspace: Workspace, name: str, state: State, out: Written, options: argparse.Namespace, progress: Progress
) -> None:
    from morpho_assets.export.about import About
    from morpho_assets.export.ann_data import export_study
    from morpho_assets.gallery.source import AboutConfig

    tables = workspace.lake.snapshot(each for each in state.commits.values() if each.partition[:2] == ("study", name))
    study = workspace.study(name)
    said = [workspace.source(plate, state).described() for plate in workspace.study_plates(study, state)]
    config = said[0] if all(each == said[0] for each in said) else AboutConfig()  # what is not true of all is not said
    about = About.of(f"study {name}", config, None, False, tables.commits.values())
    export_study(tables, name, list(study.spaces), about, out, options.kind, progress)


def _ome_zarr(plate: Plate, out: Written, options: argparse.Namespace, progress: Progress) -> None:
    from morpho_assets.export.ome_zarr import export_plate

    _tell(plate, export_plate(plate, out, options.corrected, progress)[1])


def _crops(plate: Plate, out: Written, options: argparse.Namespace, progress: Progress) -> None:
    from morpho_assets.export.crops import Windows, export_crops

    windows = Windows(options.by, options.size, options.most, options.alone, not options.raw)
    _tell(plate, export_crops(plate, out, windows, progress))


def _cytotable(plate: Plate, out: Written, options: argparse.Namespace, progress: Progress) -> None:
    from morpho_assets.export.cytotable import export_cytotable

    export_cytotable(plate, out, progress)


def _gallery(plate: Plate, out: Written, options: argparse.Namespace, progress: Progress) -> None:
    from morpho_assets.export.gallery_layout import export_gallery

    export_gallery(plate, out, options.project, progress)


def _labels(plate: Plate, out: Written, options: argparse.Namespace, progress: Progress) -> None:
    from morpho_assets.export.labels import export_labels

    _tell(plate, export_labels(plate, out, progress))


def _tell(plate: Plate, failed: Sequence[str]) -> None:
    """Say which sites were left out, and why."""
    for text in failed:
        print(f"note: plate {plate.name}, site {text}; it was left out", file=sys.stderr)


_PLATES: dict[str, Callable[[Plate, Written, argparse.Namespace, Progress], None]] = {
    "anndata": _anndata,
    "ome-zarr": _ome_zarr,
    "crops": _crops,
    "cytotable": _cytotable,
    "gallery": _gallery,
    "labels": _labels,
}
