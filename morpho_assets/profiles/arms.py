"""Proximity bias of CRISPR knock-outs: the shared profile of a chromosome arm, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from morpho_assets.errors import InputError
from morpho_assets.profiles.corrected import Corrected, CorrectorSettings
from morpho_assets.profiles.features import complete_matrix, require_columns, with_matrix
from morpho_assets.profiles.rows import groups_of


class ChromosomeArmConfig(CorrectorSettings):
    """Subtracts from every knock-out the mean profile of the unexpressed genes of its chromosome arm (Lazar 2024,
    10.1038/s41588-024-01758-y). Assumes that knocking out an unexpressed gene does nothing by itself, so that what
    these profiles share is the cut of the arm. Arms with too few such genes stay as they are."""

    corrector: Literal["chromosome_arm"] = "chromosome_arm"
    arm: str = Field(default="Metadata_arm", description="column with the chromosome arm of the target (such as 8q)")
    gene: str = Field(default="Metadata_Perturbation", description="column that names the gene")
    expression: str = Field(default="Metadata_zfpkm", description="column with the gene's expression (zFPKM)")
    unexpressed_below: float = Field(default=-3.0, description="zFPKM under which a gene counts as unexpressed")
    more_than: int = Field(default=20, ge=1, description="unexpressed genes an arm must exceed to be corrected")

    @property
    def reads_labels(self) -> bool:
        return True


def correct_chromosome_arm(
    profiles: pl.DataFrame, features: Sequence[str], config: ChromosomeArmConfig, seed: int = 0
) -> Corrected:
    """Profiles of each corrected arm minus the mean of its unexpressed genes (each gene's mean counts once). Rows
    without an arm stay as they are; how many arms were corrected is noted. InputError when none has enough unexpressed
    genes."""
    require_columns(profiles, [config.arm, config.gene, config.expression], "chromosome_arm")
    values = complete_matrix(profiles, features, "chromosome_arm")
    result, corrected = values.copy(), 0
    expression = profiles[config.expression].cast(pl.Float64, strict=False)  # annotation of the lake is text
    silent = (expression < config.unexpressed_below).fill_null(False).to_numpy()
    known = profiles[config.arm].is_not_null().to_numpy()
    arms = [rows for _, rows in groups_of(profiles, [config.arm]) if known[rows[0]]]
    for rows in arms:
        quiet = rows[silent[rows]]
        genes = groups_of(profiles[quiet], [config.gene])
        if len(genes) > config.more_than:
            result[rows] -= np.mean([values[quiet[members]].mean(axis=0) for _, members in genes], axis=0)
            corrected += 1
    if not corrected:
        raise InputError("profiles", "chromosome_arm", "no arm with enough unexpressed genes",
                         f"more than {config.more_than} genes with {config.expression} < {config.unexpressed_below}",
                         "Join arm and expression of the genes to the profiles, or leave the step out.")  # fmt: skip
    note = f"{corrected} of {len(arms)} arms corrected: they have more than {config.more_than} unexpressed genes"
    return Corrected(with_matrix(profiles, features, result), tuple(features), (note,))
