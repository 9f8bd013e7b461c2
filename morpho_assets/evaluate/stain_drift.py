"""Is a stain of one plate brighter or dimmer than on the other plates of its batch?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.evaluate.metrics import Evaluation, metric_row, metrics_frame
from morpho_assets.imaging.quality import STAIN_VALUE, stain_drift
from morpho_assets.imaging.sites import SiteReader
from morpho_assets.lake.lake import Snapshot

DRAWS = 9999


class StainDriftConfig(BaseModel):
    """Each stain of each plate against the same stain of the other plates, by its image quality."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluator: Literal["stain_drift"] = "stain_drift"
    value: str = Field(default=STAIN_VALUE, description="column of image_quality whose median over sites is compared")
    group: tuple[str, ...] = Field(
        default=("Metadata_Batch",), description="columns of wells, one value a plate, within which plates are compared"
    )
    z: float = Field(default=3.5, gt=0, description="robust z against the other plates from which a stain has drifted")
    least_change: float = Field(default=0.2, ge=0, description="and the least change, as a share of the others' median")


def stain_drifts(
    inputs: Snapshot, readers: Mapping[str, SiteReader], config: StainDriftConfig, seed: int
) -> Evaluation:
    """Rows per plate and channel (scope `plate, channel`): `stain_log2_ratio`, and with three other plates `stain_z`.

    `value` is `stain_drift`'s; chance is 0, what a plate like the others gives; the p-value is how often one of as many
    normally scattered plates lies as far out; `n` are the plate's sites. `holds` is false where the stain has drifted.
    No rows without images. Raises InputError for a `value` that is no column of `image_quality`, and for a group that
    is no column of `wells` or varies within a plate.
    """
    rows: list[dict[str, object]] = []
    frames = [_with_group(inputs, plate, config.group) for plate in readers]
    known = [frame for frame in frames if frame.height]
    if not known:
        return Evaluation(metrics_frame(rows))
    quality = pl.concat(known, how="diagonal")
    if config.value not in quality.columns:
        expected = ", ".join(name for name in quality.columns if name.startswith("ImageQuality_"))
        raise InputError(
            "evaluators", "stain_drift.value", f"no column {config.value}", f"of {expected}", "Correct it."
        )
    drift = stain_drift(quality, value=config.value, group=config.group, z=config.z, least_change=config.least_change)
    plates = drift.with_columns(pl.len().over([*config.group, "channel"]).alias("plates"))
    for row in plates.sort("Metadata_Plate", maintain_order=True).drop_nulls("log2_ratio").iter_rows(named=True):
        scope = f"{row['Metadata_Plate']}, {row['channel']}"
        rows.append(metric_row("stain_drift", scope, "stain_log2_ratio", row["log2_ratio"], row["sites"], 0.0))
        if row["robust_z"] is not None:
            p_value = chance_of(row["robust_z"], row["plates"] - 1, seed)
            z = metric_row("stain_drift", scope, "stain_z", row["robust_z"], row["sites"], 0.0, p_value=p_value)
            rows.append({**z, "holds": not row["flag_stain_drift"]})
    return Evaluation(metrics_frame(rows))


def _with_group(inputs: Snapshot, plate: str, group: Sequence[str]) -> pl.DataFrame:
    """`image_quality` of a plate with the `group` columns of its wells."""
    wells = inputs.read("wells", plate)
    missing = [name for name in group if name not in wells.columns]
    if missing:
        expected = ", ".join(name for name in wells.columns if name.startswith("Metadata_"))
        raise InputError("evaluators", "stain_drift.group", f"no column {missing[0]}", f"of {expected}", "Correct it.")
    values = wells.select(group).unique() if group else pl.DataFrame()
    if values.height > 1:
        found = f"{values.height} values of {', '.join(group)} on plate {plate}"
        raise InputError("evaluators", "stain_drift.group", found, "one value a plate", "Name columns of whole plates.")
    quality = inputs.read("image_quality", plate)
    return quality.with_columns(pl.lit(values[name][0]).alias(name) for name in group) if group else quality


def chance_of(z: float, others: int, seed: int) -> float:
    """How often a plate drawn from the same normal distribution as `others` plates has a robust z as far from 0."""
    return float((1 + np.count_nonzero(_null(others, seed) >= abs(z))) / (DRAWS + 1))


@lru_cache(maxsize=64)
def _null(others: int, seed: int) -> npt.NDArray[np.float64]:
    """Distances from 0 of the robust z, as `stain_drift` computes it, of DRAWS plates against `others` like them."""
    logs = np.random.default_rng(seed).normal(size=(DRAWS, others + 1))
    centre = np.median(logs[:, 1:], axis=1)
    mad = 1.4826 * np.median(np.abs(logs[:, 1:] - centre[:, None]), axis=1)
    return np.asarray(np.abs(logs[:, 0] - centre) / mad)
