"""What an evaluator compares: the features of profiles as a matrix, or treatments with their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import complete_matrix, require_columns, require_features


def profile_matrix(profiles: pl.DataFrame, features: Sequence[str], purpose: str) -> npt.NDArray[np.float64]:
    """(n, d) values of `features`; InputError where there is none, one is absent, or one has missing values."""
    return complete_matrix(profiles, require_features(profiles, features), purpose)


def treatment_profiles(
    profiles: pl.DataFrame, features: Sequence[str], config: ConsensusConfig, labels: Sequence[str]
) -> pl.DataFrame:
    """`consensus` of the profiles whose treatment, the first column of `config.by`, is known; with columns `labels`.

    A label that is missing on some of a treatment's profiles is that of the others. InputError naming the treatment
    and its values where they differ, and for an absent column.
    """
    require_features(profiles, features)
    require_columns(profiles, [*config.by, *labels], "treatments")
    by = list(config.by)
    profiles = profiles.drop_nulls(by[:1])
    carried = [name for name in dict.fromkeys(labels) if name not in by]
    for name in carried:
        known = profiles.drop_nulls(name).group_by(by).agg(pl.col(name).unique().sort())
        conflicts = known.filter(pl.col(name).list.len() > 1).sort(by)
        if conflicts.height:
            *treatment, values = conflicts.row(0)
            raise InputError("profiles", f"treatment {', '.join(map(str, treatment))}",
                             f"several values of {name}: {', '.join(map(repr, values))}", "one value per treatment",
                             "Correct the annotation, or tell the treatments apart.")  # fmt: skip
    profiles = profiles.with_columns(pl.col(name).drop_nulls().first().over(by) for name in carried)
    return consensus(profiles, config, features) if profiles.height else profiles
