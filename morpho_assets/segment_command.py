"""The command that shows ways to segment side by side: `morpho segment`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from morpho_assets.errors import InputError

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]


def add_segment_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    about = (
        "draw several ways to segment side by side on a few sites of a plate, and put the chosen one in the settings"
    )
    segment = command("segment", _segment, about)
    what = segment.add_mutually_exclusive_group(required=True)
    what.add_argument("--try", dest="methods", nargs="*", metavar="METHOD",
                      help="methods to try (default: that of the settings, watershed and network)")  # fmt: skip
    what.add_argument("--choose", metavar="METHOD", help="write this method into the settings file")
    segment.add_argument("--plate", help="a barcode (default: the first plate of the sources)")
    segment.add_argument("--site", action="append", default=[], help="such as A01-1; may be repeated")
    segment.add_argument("--sites", type=int, default=3, help="how many, spread over the plate (default: %(default)s)")
    segment.add_argument("--out", type=Path, default=Path("segmentation.png"),
                         help="the picture to write (default: %(default)s)")  # fmt: skip


def _segment(options: argparse.Namespace) -> None:
    import polars as pl

    from morpho_assets.trial import chosen, fields_of, methods_of, try_methods, write_choice
    from morpho_assets.workspace import Workspace

    file = Path(options.settings).expanduser().resolve()
    workspace = Workspace.open(file)
    if options.choose is not None:
        write_choice(file, chosen(options.choose))
        Workspace.open(file)  # what was written can be read
        print(f"{file}: segmentation is {options.choose} now; `morpho plan` says what that makes anew")
        return
    methods = methods_of(workspace, options.methods)
    plate = options.plate or next(iter(workspace.plates()), None)
    if plate is None:
        raise InputError("morpho segment", "--plate", "no plate in any source", "a plate", "`morpho check` says why.")
    workspace.require([plate], [])
    tried = try_methods(fields_of(workspace, plate, options.site, max(options.sites, 1)), methods)
    options.out.write_bytes(tried.picture())
    with pl.Config(tbl_cols=20, tbl_width_chars=160, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(tried.table())
    print(f"{', '.join(field.key for field in tried.fields)} of {plate}: {options.out}")
    print("choose one: morpho segment --choose METHOD")
