"""The command with which a person approves or rejects a plate, a well or a site: `morpho verdict`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morpho_assets.lake.judgements import Said
    from morpho_assets.workspace import Workspace

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]
SAID: dict[str, Said] = {"approve": "approved", "reject": "rejected", "withdraw": "withdrawn"}


def add_verdict_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    about = "approve or reject a plate, a well or a site, or take that back; profiles are made without what is rejected"
    verdict = command("verdict", _list, about)
    actions = verdict.add_subparsers(required=True, metavar="action", dest="action")
    words = {
        "approve": "say that it is good: within a rejected well, that a site stays",
        "reject": "leave it out of profiles; of a rejected plate none are made, and no study uses it",
        "withdraw": "take the last verdict on it back",
    }
    for name, text in words.items():
        added = actions.add_parser(name, help=text, description=text)
        added.set_defaults(run=_judge)
        added.add_argument("--plate", required=True, help="the barcode")
        added.add_argument("--well", help="a well of it, such as A01; default: the plate")
        added.add_argument("--site", type=int, help="a site of the well; default: the well")
        added.add_argument("--reason", required=True, help="why; it is kept with the plate's profiles")
        added.add_argument("--name", help="who says so (default: the name of your account)")
    listing = actions.add_parser("list", help="what is in force", description="what is in force")
    listing.set_defaults(run=_list)
    listing.add_argument("--plate", action="append", default=[], help="a barcode; may be repeated (default: all)")
    listing.add_argument("--all", action="store_true", help="also what was said before, and taken back")


def _open(options: argparse.Namespace) -> Workspace:
    from morpho_assets.workspace import Workspace

    return Workspace.open(Path(options.settings).expanduser().resolve())


def _judge(options: argparse.Namespace) -> None:
    from morpho_assets.judging import judge
    from morpho_assets.lake.ledger import who

    name = who() if options.name is None else options.name
    said = judge(_open(options), SAID[options.action], options.plate, options.well, options.site, options.reason, name)
    where = f"plate {said.plate}" + (f", {said.place}" if said.place else "")
    print(f"{where}: {said.text}. `morpho plan --plate {said.plate}` says what that changes.")


def _list(options: argparse.Namespace) -> None:
    workspace = _open(options)
    state = workspace.lake.ledger.state()
    for plate in options.plate or sorted(state.judgements):
        standing = state.in_force(plate)
        for each in state.judgements.get(plate, ()):
            stands = standing.get(each.place) == each
            if stands or options.all:
                past = "" if stands else "\tno longer in force"
                print(f"{each.at[:16]}\t{plate}\t{each.place or 'plate'}\t{each.text}{past}")
