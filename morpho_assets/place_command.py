"""The command about a new plate's wells: `morpho place`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from morpho_assets.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from morpho_assets.lake.lake import Snapshot
    from morpho_assets.studies.model import Study

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]
ABOUT = "say where a plate's wells lie in a study: nearest treatments, phenotypes, and whether they are like any"


def add_place_command(command: Command) -> None:
    """Register the command with what makes a subcommand of `morpho`."""
    place = command("place", _place, ABOUT)
    place.add_argument("plate", help="barcode of a plate whose profiles are made")
    place.add_argument("--study", required=True, help="the reference, whose spaces and phenotypes are made")
    place.add_argument("--space", help="space of wells in units of the controls (default: the study's first such)")
    place.add_argument("--nearest", type=int, default=3, help="treatments that are named for a well (%(default)s)")
    place.add_argument("--out", type=Path, help="write the table as .csv")


def _place(options: argparse.Namespace) -> None:
    import polars as pl

    from morpho_assets.predict.place import place_wells
    from morpho_assets.profiles.study import SELECTED, read_space, space_features
    from morpho_assets.workspace import Workspace

    workspace = Workspace.open(Path(options.settings))
    workspace.require([options.plate], [options.study])
    study = workspace.study(options.study)
    space = _space(study, options.space)
    commits = workspace.lake.ledger.state().commits
    tables = workspace.lake.snapshot(commits.values())
    for table, key, what in (("normalized_profiles", options.plate, "plate"), ("profiles", options.study, "study")):
        if not tables.has(table, key):
            raise InputError(what, key, f"no {table}", "made ones", f"Run `morpho run --{what} {key}` first.")
    reference = read_space(tables, options.study, space, SELECTED)
    reference = reference.filter(pl.col("Metadata_Plate") != options.plate)
    new = tables.read("normalized_profiles", options.plate)
    features = space_features(reference)
    absent = [name for name in features if name not in new.columns]
    if absent:
        print(f"{len(absent)} of {len(features)} features are not on the plate, and left out: {', '.join(absent[:5])}")
        features = [name for name in features if name in new.columns]
    found = place_wells(new, reference, features, options.nearest)
    treatment = new.select("Metadata_Plate", "Metadata_Well", "Metadata_Perturbation")
    found = found.join(treatment, on=["Metadata_Plate", "Metadata_Well"], how="left", maintain_order="left")
    for name in study.phenotypes:
        shares = phenotypes_of(tables, study, name, options.plate)
        found = found.join(shares, on="Metadata_Well", how="left", maintain_order="left")
    if options.out is not None:
        from morpho_assets.gallery.csv_text import harmless

        harmless(found).write_csv(options.out)
        print(f"{found.height} rows in {options.out}")
        return
    with pl.Config(tbl_rows=400, tbl_cols=20, fmt_str_lengths=40, tbl_hide_dataframe_shape=True):
        print(found.drop("Metadata_Plate"))


def _space(study: Study, named: str | None) -> str:
    """A space whose rows are wells in units of the controls, after no more than a choice of features."""
    fit = [
        name for name, space in study.spaces.items()
        if getattr(space, "source", space.of) == "normalized" and space.recipe is None
        and all(step.select is not None or step.subset is not None for step in space.as_steps)
    ]  # fmt: skip
    if named is None and fit:
        return fit[0]
    if named not in fit:
        found = f"the space {named}" if named else "no space"
        raise InputError(f"study {study.name}", "spaces", f"{found} of wells in units of the controls",
                         f"one of {', '.join(fit) or 'none'}", "Name a space such as `{of: cells}`: a new plate has "
                         "its profiles in no other.")  # fmt: skip
    return named


def phenotypes_of(tables: Snapshot, study: Study, name: str, plate: str) -> pl.DataFrame:
    """Metadata_Well and the probability of each class of a study's phenotype over the cells of a plate, by the model of
    the study."""
    import polars as pl

    from morpho_assets.predict.cells import CellReader
    from morpho_assets.predict.models import load_model
    from morpho_assets.predict.phenotypes import PHENOTYPE
    from morpho_assets.predict.predictions import FINAL

    config = study.phenotypes[name]
    rows = tables.read("models", study.name).filter(model=name, predicted_by=FINAL)
    if not rows.height:
        raise InputError(f"study {study.name}", f"phenotypes.{name}", "no model", "a made one",
                         f"Run `morpho run --study {study.name}` first.")  # fmt: skip
    row = rows.row(0, named=True)
    model = load_model(tables.lake.read_bytes(row["path"]), tables.lake.read_bytes(row["weights"]), row["path"])
    reader = CellReader(tables, study.name, plate, config.features)
    parts: list[pl.DataFrame] = []
    for keys, values in reader.batches(reader.features):
        probability, absent = model.predict_named(values, reader.features)
        if absent and not parts:
            print(f"{name}: {len(absent)} features are not on the plate, and at the mean of training")
        names = [f"{PHENOTYPE}{each}" for each in model.card.classes]
        parts.append(keys.select("Metadata_Well").hstack(pl.DataFrame(probability, names)))
    cells = pl.concat(parts)
    return cells.group_by("Metadata_Well", maintain_order=True).agg(
        getattr(pl.exclude("Metadata_Well").drop_nans(), config.well)()
    )
