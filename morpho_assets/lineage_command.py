"""The command that tells where rows come from: `morpho lineage`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from morpho_assets.errors import InputError

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]


def add_lineage_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    about = "tell where a table, or rows of it, come from: code, settings, inputs and digests, back to the sources"
    lineage = command("lineage", _lineage, about)
    lineage.add_argument("table", help="a table, such as metrics or single_cells (docs/tables.md)")
    of = lineage.add_mutually_exclusive_group(required=True)
    of.add_argument("--plate", help="the barcode, of a plate's table")
    of.add_argument("--study", help="the study, of a study's table")
    lineage.add_argument("--where", help="SQL condition on its rows, such as \"metric = 'mAP' AND scope = 'overall'\"")
    form = lineage.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all of it as JSON")
    form.add_argument("--openlineage", action="store_true", help="as OpenLineage's run events, one a line")


def _lineage(options: argparse.Namespace) -> None:
    from morpho_assets.lake.tables import table
    from morpho_assets.lineage import trace
    from morpho_assets.workspace import Workspace

    kind = table(options.table).partition
    key = options.plate if kind == "plate" else options.study
    if key is None:
        given = "--study" if options.study else "--plate"
        raise InputError("morpho lineage", options.table, given, f"--{kind}: it is a table of each {kind}", "Name one.")
    workspace = Workspace.open(Path(options.settings).expanduser().resolve())
    found = trace(workspace.lake, workspace.lake.ledger.state(), options.table, key, options.where)
    if options.json:
        print(json.dumps(found.plain(), ensure_ascii=False, indent=1, default=str))
    elif options.openlineage:
        print("\n".join(json.dumps(event, ensure_ascii=False) for event in found.events(workspace.lake.root)))
    else:
        print(found.text())
