"""Each treatment's wells beside the controls of their plates, both exchanged within plates: a null for any distance.

Plates are brought to the mean and deviation of all their wells first. A scale that the controls alone made fits them
better than anything else, and any distance from them would then be there where nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.evaluate.chance import benjamini_hochberg
from morpho_assets.evaluate.inputs import profile_matrix
from morpho_assets.evaluate.intervals import mean_interval, share_interval
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame, nothing_to_ask, scores_frame
from morpho_assets.profiles.features import require_columns
from morpho_assets.profiles.rows import groups_of, rows_where

Matrix = npt.NDArray[np.float64]
SLACK = 1e-9  # rounding must not decide a tie


class AgainstControlsConfig(BaseModel):
    """What distances of treatments from controls have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group: str = Field(default="Metadata_Perturbation", description="column of the treatment")
    among: str = Field(default="treated", description="SQL condition of the treated profiles")
    controls: str = Field(default="negcon", description="SQL condition of the controls")
    plate: tuple[str, ...] = Field(default=("Metadata_Plate",), description="columns that name a plate")
    least: int = Field(default=2, ge=1, description="fewest profiles of a treatment")
    permutations: int = Field(default=1000, ge=100, description="random exchanges with controls of the plate")
    threshold: float = Field(default=0.05, gt=0, lt=1, description="q-value under which a treatment is told apart")


@dataclass(frozen=True)
class Contrast:
    """One treatment: `values` (n, d) of its profiles and of the controls of their plates, and `treated` (1 + p, n): in
    the first row which are the treatment's, then the same exchanged at random within plates."""

    name: str
    values: Matrix
    treated: npt.NDArray[np.bool_]

    @property
    def profiles(self) -> int:
        return int(self.treated[0].sum())


def contrasts(
    profiles: pl.DataFrame, features: Sequence[str], config: AgainstControlsConfig, purpose: str, seed: int
) -> Iterator[Contrast]:
    """The treatments with at least `least` profiles and 2 controls on their plates, by name. InputError as of
    `profile_matrix`."""
    require_columns(profiles, [config.group, *config.plate], purpose)
    matrix = at_plate_scale(profile_matrix(profiles, features, purpose), profiles, config.plate)
    chosen = rows_where(profiles, config.among) & profiles[config.group].is_not_null()
    controls = rows_where(profiles, config.controls).to_numpy()
    plate = np.empty(profiles.height, dtype=np.int64)
    for number, (_, rows) in enumerate(groups_of(profiles, config.plate)):
        plate[rows] = number
    numbered = profiles.select(config.group).with_row_index("__row").filter(chosen)
    for (name,), members in sorted(numbered.group_by(config.group), key=lambda pair: str(pair[0][0])):
        mine = members["__row"].to_numpy().astype(np.intp)
        rivals = np.flatnonzero(controls & np.isin(plate, plate[mine]))
        rivals = np.setdiff1d(rivals, mine)
        if mine.size < config.least or rivals.size < 2:
            continue
        rows = np.concatenate([mine, rivals])
        rng = np.random.default_rng([seed, mine.size, rivals.size])
        treated = np.zeros((1 + config.permutations, rows.size), dtype=bool)
        treated[:, : mine.size] = True
        for code in np.unique(plate[mine]):
            here = np.flatnonzero(plate[rows] == code)
            order = rng.random((config.permutations, here.size)).argsort(axis=1)
            treated[1:, here] = treated[0, here][order]
        yield Contrast(str(name), matrix[rows], treated)


def at_plate_scale(matrix: Matrix, profiles: pl.DataFrame, plate: Sequence[str]) -> Matrix:
    """(n, d) with the mean 0 and the deviation 1 over all profiles of each plate; a feature flat there is 0."""
    scaled = np.empty_like(matrix)
    for _, rows in groups_of(profiles, plate):
        values = matrix[rows] - matrix[rows].mean(axis=0)
        spread = values.std(axis=0)
        flat = spread <= 1e-9 * np.abs(matrix[rows]).max(axis=0, initial=0)
        scaled[rows] = np.where(flat, 0.0, values / np.where(flat, 1.0, spread))
    return scaled


def told_apart(
    name: str, metric: str, group: str, found: Sequence[tuple[Contrast, Matrix]], threshold: float, seed: int
) -> Evaluation:
    """The evaluation of (treatment, (1 + p,) distances: its own, then those of the exchanges).

    Rows: the mean distance, beside its mean over exchanges, and fraction_told_apart, the share of treatments with a
    q-value under the threshold, which is its chance. Detail `distances`: of each treatment the distance, its chance,
    p (exchanges that reach it, and itself, among all) and q.
    """
    if not found:
        return nothing_to_ask(name, [metric, "fraction_told_apart"])
    distance = np.array([values[0] for _, values in found])
    chance = np.array([values[1:].mean() for _, values in found])
    p = np.array([(values[1:] >= values[0] - SLACK * max(values[0], 1)).sum() + 1 for _, values in found]) / np.array(
        [values.size for _, values in found]
    )
    q = benjamini_hochberg(p)
    apart = q < threshold
    table = pl.DataFrame({
        group: [contrast.name for contrast, _ in found], metric: distance, "chance": chance, "p_value": p, "q_value": q,
        "n_profiles": [contrast.profiles for contrast, _ in found],
    })  # fmt: skip
    share = float(apart.mean())
    rows = [
        metric_row(name, "overall", metric, distance.mean(), distance.size, chance.mean(),
                   mean_interval(distance, seed)),
        metric_row(name, "overall", "fraction_told_apart", share, apart.size, threshold,
                   share_interval(share, apart.size)),
    ]  # fmt: skip
    scores = scores_frame(table.select(group), {metric: (distance, chance), "told_apart": (apart, threshold)})
    return Evaluation(metrics_frame(rows), {"distances": table}, scores)
