"""The command about an experiment that is still to be made: `morpho design`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from morpho_assets.errors import InputError

if TYPE_CHECKING:
    from morpho_assets.power.design import Design
    from morpho_assets.power.power import Power, PowerConfig
    from morpho_assets.power.wells import OwnWells, Wells

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]
ABOUT = "say how often an effect of a given size would be found, by replicates, controls and layout of the plates"
NOTES = """\
An effect of 2 moves the wells of a treatment by 2 MADs (x 1.4826) of the controls along its direction. Found is what a
study with the evaluator `retrieval` calls retrieved: q < 0.05. Wells are drawn by the simulator, or are your own
negative controls where plates are named. docs/planning.md says what is assumed, and how to read the table.
"""


def add_design_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    design = command("design", _design, ABOUT)
    design.epilog = NOTES
    each = design.add_argument_group("what is compared: every combination")
    each.add_argument("--replicates", type=int, nargs="+", default=[2, 3, 4, 6], help="wells of a treatment (2 3 4 6)")
    each.add_argument("--controls", type=int, nargs="+", default=[8, 16, 32], help="on each plate (8 16 32)")
    over = "plates that hold a treatment's replicates: all, each on its own, or a number (all 1)"
    each.add_argument("--over", nargs="+", default=["all", "1"], metavar="PLATES", help=over)
    each.add_argument("--effect", type=float, nargs="+", help="sizes of the effect, in control MADs (2 3 4 6)")
    place = design.add_argument_group("where wells come from")
    own = "a barcode whose own negative controls are used, and its treatments for directions; may be repeated"
    place.add_argument("--plate", action="append", default=[], help=own)
    real = (
        "of plates: real wells, or drawn from their covariance; auto: real ones if they suffice (default: %(default)s)"
    )
    place.add_argument("--wells", choices=["auto", "resampled", "drawn"], default="auto", help=real)
    place.add_argument("--plate-wells", type=int, default=384, help="96, 384 or 1536 (default: %(default)s)")
    where = "controls at random places or in the outer columns (default: %(default)s)"
    place.add_argument("--controls-in", choices=["scattered", "columns"], default="scattered", help=where)
    place.add_argument("--no-position", action="store_true", help="without plate, edge and gradient effects")
    place.add_argument("--same-places", action="store_true", help="a treatment has the same place on all its plates")
    much = design.add_argument_group("how much")
    much.add_argument("--active", type=float, default=0.2, help="share of treatments with an effect (%(default)s)")
    much.add_argument("--target", type=float, default=0.8, help="power to be advised (default: %(default)s)")
    simulated = "treatments of each size that are simulated per design (default: %(default)s)"
    much.add_argument("--simulations", type=int, default=60, help=simulated)
    much.add_argument(
        "--minutes", type=float, default=2.0, help="begin nothing further after this time (default: %(default)s)"
    )
    much.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: %(default)s)")
    much.add_argument("--processes", type=int, default=0, help="that work side by side; 0: one for each core")
    design.add_argument("--out", type=Path, help="write the table as .csv")
    design.add_argument("--picture", type=Path, help="draw the power as .png or .webp")


def _design(options: argparse.Namespace) -> None:
    from morpho_assets.compute import ComputeConfig
    from morpho_assets.power.advice import advice, curves, table_text
    from morpho_assets.power.design import Design, Plate
    from morpho_assets.power.power import power
    from morpho_assets.terminal import TerminalProgress

    _require_writable(options)
    plate = Plate(options.plate_wells, options.controls_in)
    designs = Design.grid(options.replicates, options.controls, options.over, plate)
    config = _config(options)
    wells = _wells(options, designs, config)
    with TerminalProgress() as progress:
        found = power(designs, wells, plate, config, ComputeConfig(workers=options.processes), progress)
    threshold = config.retrieval.threshold
    print(
        f"\n{found.about[0].upper()}{found.about[1:]}.\n"
        f"effect: share found (q < {threshold:g}) with its 95 % interval; no effect: the same without one, at most;\n"
        f"p < {threshold:g}: without effect, before correction; wells: of {plate.wells}, with a treatment's controls\n"
    )
    print(table_text(found.table, threshold))
    print(f"\n{_number(found)}, seed {options.seed}.{_stopped(found, options.minutes)}\n")
    print("\n".join(advice(found.table, options.target, threshold)))
    if options.out is not None:
        from morpho_assets.gallery.csv_text import harmless

        options.out.parent.mkdir(parents=True, exist_ok=True)
        harmless(found.table).write_csv(options.out)
        print(f"wrote     {options.out}")
    if options.picture is not None:
        from morpho_assets.report.figures import power_curves

        _write_picture(power_curves(curves(found.table), threshold), options.picture)
        print(f"wrote     {options.picture}")


def _require_writable(options: argparse.Namespace) -> None:
    """InputError for a file of a kind that is not written, before any work."""
    for file, kinds in ((options.out, (".csv",)), (options.picture, (".png", ".webp"))):
        if file is not None and file.suffix not in kinds:
            raise InputError(file, "", f"a file of type {file.suffix or 'none'}", " or ".join(kinds), "Rename it.")


def _number(found: Power) -> str:
    counts = sorted(set(found.table["simulations"]))
    numbers = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{numbers} simulated treatments of each size per design"


def _stopped(found: Power, minutes: float) -> str:
    if not found.stopped:
        return ""
    return f" {found.asked} were asked for, but {minutes:g} minutes were over: --minutes gives more."


def _config(options: argparse.Namespace) -> PowerConfig:
    from pydantic import ValidationError

    from morpho_assets.power.power import PowerConfig

    given = {name: getattr(options, name) for name in ("active", "simulations", "minutes", "seed", "same_places")}
    given |= {"effects": tuple(options.effect)} if options.effect else {}
    try:
        return PowerConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            "morpho design", str(first["loc"][0]), str(first["input"]), first["msg"], "Correct it."
        ) from error


def _wells(options: argparse.Namespace, designs: Sequence[Design], config: PowerConfig) -> Wells:
    from morpho_assets.power.wells import DrawnWells

    if not options.plate:
        if options.wells == "resampled":
            raise InputError("morpho design", "wells", "no plate to resample", "--plate", "Name plates.")
        return DrawnWells(None) if options.no_position else DrawnWells()
    if options.controls_in == "columns":
        todo = "Wells of real plates keep the place that they have. Leave --plate out to compare layouts."
        raise InputError("morpho design", "controls-in", "columns, of real plates", "scattered", todo)
    return _own(options, designs, config)


def _own(options: argparse.Namespace, designs: Sequence[Design], config: PowerConfig) -> OwnWells:
    """The controls of the plates, resampled if that is asked for, or if there are enough of them."""
    import polars as pl

    from morpho_assets.lake.ledger import Partition
    from morpho_assets.power.power import wells_needed
    from morpho_assets.power.wells import OwnWells
    from morpho_assets.profiles.select import select_features
    from morpho_assets.workspace import Workspace

    plates = dict.fromkeys(options.plate)
    lake = Workspace.open(Path(options.settings).expanduser().resolve()).lake
    snapshot = lake.latest(["well_profiles"], [Partition("plate", plate) for plate in plates])
    profiles = pl.concat([snapshot.read("normalized_profiles", plate) for plate in plates], how="diagonal_relaxed")
    own = OwnWells.of(profiles, select_features(profiles).kept, options.wells == "resampled")
    enough = max(wells_needed(design, config) for design in designs) <= len(own.controls)
    return replace(own, resample=enough) if options.wells == "auto" else own


def _write_picture(image: bytes, file: Path) -> None:
    import io

    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(image)).save(file)
