"""What encoders may see, and what those behind a space have seen of the wells that are scored in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.learn.config import TrainsOn
from morpho_assets.profiles.space import EmbeddingSpace, SetSpace, SpaceConfig

WELL = ["Metadata_Plate", "Metadata_Well"]
COMPOUNDS = ("Metadata_InChIKey", "Metadata_pert_iname", "Metadata_broad_sample", "Metadata_JCP2022",
             "Metadata_Perturbation")  # fmt: skip
"""Columns that name a compound over its doses, the surest first."""
SEEN = ("wells", "treatments", "compounds", "labels")
NOTHING = "nothing"


def names_of(wells: pl.DataFrame) -> list[str]:
    """Plate and well of each row, with a blank between."""
    return wells.select(pl.concat_str(WELL, separator=" ")).to_series().to_list()


def wells_allowed(wells: pl.DataFrame, trains_on: TrainsOn) -> pl.DataFrame:
    """The wells, of these, that may be seen. InputError for one that is named and not there."""
    asked = trains_on.wells
    unknown = sorted(set(trains_on.without) - set(wells["Metadata_Perturbation"].drop_nulls()))
    if unknown:
        do = "Name treatments as Metadata_Perturbation does."
        raise InputError("encoder", "trains_on.without", unknown[0], "treatments of its plates", do)
    wells = wells.filter(pl.col("Metadata_Perturbation").is_in(list(trains_on.without)).not_().fill_null(True))
    if asked == "all":
        return wells
    if asked == "controls":
        return wells.filter(Metadata_control_type="negcon")
    missing = sorted(set(asked) - set(wells["Metadata_Well"]))
    if missing:
        raise InputError("encoder", "trains_on.wells", f"the well {missing[0]}", "wells of its plates", "Name others.")
    return wells.filter(pl.col("Metadata_Well").is_in(list(asked)))


def encoders_of(spaces: Mapping[str, SpaceConfig], name: str) -> set[str]:
    """The encoders and sets whose embeddings a space is made from, itself or through other spaces."""
    space = spaces[name]
    own = {space.encoder or name} if isinstance(space, EmbeddingSpace) else set()
    own |= {space.set or name} if isinstance(space, SetSpace) else set()
    return own.union(*(encoders_of(spaces, other) for other in space.of_spaces))


def encoder_of_plate(folds: pl.DataFrame, plate: str) -> dict[str, Any]:
    """The row of an encoder (rows of its table) that embeds a plate: of a cross-fitted one the fold that has not seen
    it; the first fold where none was made for it, and where there is but one."""
    rows = folds.sort("fold").to_dicts()
    return next((row for row in rows if plate in row["plates"]), rows[0])


def what_was_seen(encoders: pl.DataFrame, wells: pl.DataFrame, scored: pl.DataFrame) -> str | None:
    """What encoders (rows of their table) saw of the treated wells among `scored` (rows with Metadata_Plate, _Well and
    annotation): some of `wells`, `treatments`, `compounds`, and `labels` where they were told one of these treatments;
    `nothing`; null without an encoder. `wells` are those of the study, annotated.

    Seen is every well whose cells fitted weights, scaling or components, or stopped the training: also by a network
    that was not trained, and by one that was told no label. Of a cross-fitted encoder each plate is asked of the fold
    that embeds it; the negative controls that turned the folds onto each other are no treated wells.
    """
    if not encoders.height:
        return None
    treated = scored.filter(pl.col("Metadata_control_type").ne_missing("negcon"))
    found = set()
    for (encoder,) in encoders.select("encoder").unique(maintain_order=True).iter_rows():
        folds = encoders.filter(encoder=encoder)
        for (plate,), rows in treated.group_by("Metadata_Plate", maintain_order=True):
            found |= _seen_by(encoder_of_plate(folds, str(plate)), wells, rows)
    return ", ".join(what for what in SEEN if what in found) or NOTHING


def _seen_by(encoder: Mapping[str, Any], wells: pl.DataFrame, treated: pl.DataFrame) -> set[str]:
    """What one row of `encoders` saw of treated wells."""
    seen = wells.filter(pl.concat_str(WELL, separator=" ").is_in(encoder["wells"]))
    found = {"wells"} if treated.join(seen, on=WELL, how="semi").height else set()
    compound = next((name for name in COMPOUNDS if name in seen.columns and name in treated.columns), COMPOUNDS[-1])
    for what, column in (("treatments", COMPOUNDS[-1]), ("compounds", compound)):
        if set(treated[column].drop_nulls()) & set(seen[column].drop_nulls()):
            found.add(what)
    if set(encoder["labels"]) & set(treated[COMPOUNDS[-1]].drop_nulls()):
        found.add("labels")
    return found
