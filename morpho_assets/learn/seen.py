"""What the encoders behind a space have seen of the wells that are scored in it."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from morpho_assets.profiles.space import EmbeddingSpace, SpaceConfig

WELL = ["Metadata_Plate", "Metadata_Well"]
COMPOUNDS = ("Metadata_InChIKey", "Metadata_pert_iname", "Metadata_broad_sample", "Metadata_JCP2022",
             "Metadata_Perturbation")  # fmt: skip
"""Columns that name a compound over its doses, the surest first."""
NOTHING = "nothing"


def encoders_of(spaces: Mapping[str, SpaceConfig], name: str) -> set[str]:
    """The encoders whose embeddings a space is made from, itself or through other spaces."""
    space = spaces[name]
    own = {space.encoder or name} if isinstance(space, EmbeddingSpace) else set()
    return own.union(*(encoders_of(spaces, other) for other in space.of_spaces))


def what_was_seen(encoders: pl.DataFrame, wells: pl.DataFrame, scored: pl.DataFrame) -> str | None:
    """What encoders (rows of their table) saw of the treated wells among `scored` (rows with Metadata_Plate, _Well and
    annotation): some of `wells`, `treatments`, `compounds`, and `labels` where they were told one of these treatments;
    `nothing`; null without an encoder. `wells` are those of the study, annotated.

    Seen is every well whose cells fitted weights, scaling or components, or stopped the training: also by a network
    that was not trained, and by one that was told no label.
    """
    if not encoders.height:
        return None
    names = [name for row in encoders["wells"].to_list() for name in row]
    seen = wells.filter(pl.concat_str(WELL, separator=" ").is_in(names))
    treated = scored.filter(pl.col("Metadata_control_type").ne_missing("negcon"))
    found = ["wells"] if treated.join(seen, on=WELL, how="semi").height else []
    compound = next((name for name in COMPOUNDS if name in seen.columns and name in treated.columns), COMPOUNDS[-1])
    for what, column in (("treatments", COMPOUNDS[-1]), ("compounds", compound)):
        if set(treated[column].drop_nulls()) & set(seen[column].drop_nulls()):
            found.append(what)
    told = {label for row in encoders["labels"].to_list() for label in row}
    if told & set(treated[COMPOUNDS[-1]].drop_nulls()):
        found.append("labels")
    return ", ".join(found) or NOTHING
