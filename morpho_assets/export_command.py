"""The command that writes what was made for other tools: `morpho export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from morpho_assets.export import FORMS

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]
ABOUT = "write plates or studies for other tools; what is whole already is kept, so that a killed export goes on"
NOTES = "docs/export.md says what each form holds, and which tools read it."


def add_export_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    export = command("export", _export, ABOUT)
    export.epilog = NOTES
    forms = export.add_subparsers(required=True, metavar="form", dest="form")

    def form(name: str, studies: bool = False) -> argparse.ArgumentParser:
        text = FORMS[name]
        added = forms.add_parser(name, help=text, description=text)
        added.add_argument("--plate", action="append", default=[], help="a barcode; may be repeated")
        if studies:
            added.add_argument("--study", action="append", default=[], help="a study; may be repeated")
        added.add_argument("--out", type=Path, help=f"the folder (default: exports/{name} beside the catalog)")
        return added

    anndata = form("anndata", studies=True)
    anndata.add_argument("--as", dest="kind", choices=["h5ad", "zarr"], default="h5ad", help="(default: %(default)s)")
    only = "write only one of them (default: what there is)"
    anndata.add_argument("--level", choices=["cells", "wells"], help=only)

    zarr = form("ome-zarr")
    zarr.add_argument("--corrected", action="store_true", help="divide images by the illumination functions")

    crops = form("crops")
    crops.add_argument("--by", default="Metadata_Perturbation", help="column of `wells` with the class (%(default)s)")
    crops.add_argument("--size", type=int, default=128, help="side of a window, px (default: %(default)s)")
    crops.add_argument("--most", type=int, help="cells of a class at most (default: all)")
    crops.add_argument("--alone", action="store_true", help="black out the neighbours")
    crops.add_argument("--raw", action="store_true", help="do not divide by the illumination functions")
    form("cytotable")
    gallery = form("gallery")
    gallery.add_argument("--project", default="exported", help="name of the project's folder (default: %(default)s)")
    form("labels")


def _export(options: argparse.Namespace) -> None:
    from morpho_assets.exporting import Options, export
    from morpho_assets.terminal import TerminalProgress
    from morpho_assets.workspace import Workspace

    workspace = Workspace.open(Path(options.settings).expanduser().resolve())
    given = vars(options)
    chosen = Options.of(given)
    with TerminalProgress() as progress:
        done = export(workspace, options.form, options.plate, given.get("study", []), options.out, chosen, progress)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    kept = f", {done.kept} were there already" if done.kept else ""
    print(f"{done.made} written{kept}: {done.folder}")
