"""Checks on treatments: is what acts found, as far as it acts, and nothing where nothing acts?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.retrieval import mean_average_precision
from morpho_assets.evaluate.truth.checks import Finding
from morpho_assets.evaluate.truth.statistics import correlation, roc_auc, spearman
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.rows import groups_of, rows_where

TREATMENT = "Metadata_Perturbation"
COUNT = "effect_viability"
# The measurement that reads a parameter directly; the others of the simulator act on no single one.
READINGS = {
    "nuclear_area": "Nuclei_AreaShape_Area",
    "cell_area": "Cells_AreaShape_Area",
    "er_intensity": "Nuclei_Intensity_MeanIntensity_ER",
    "nucleoli": "Nuclei_Intensity_StdIntensity_RNA",
    "viability": "Metadata_Count_Cells",
}
NULL_DRAWS = 10
TOXIC = -1.0  # log of the count: what kills more than this is found by counting alone
SPARED = 0.1  # a change of the count by less than a tenth is none


def planted_lengths(treatments: pl.DataFrame) -> pl.DataFrame:
    """Columns TREATMENT, `length` (of the planted effect, the count left out), `active`, `mechanism`, `role`,
    `broad_sample` and the `effect_` columns, from the truth table `treatments`."""
    visible = [
        name for name in treatments.columns if name.startswith("effect_") and name not in (COUNT, "effect_length")
    ]
    length = pl.sum_horizontal(pl.col(name) ** 2 for name in visible).sqrt()
    kept = ["active", "mechanism", "role", "broad_sample", COUNT, *visible]
    return treatments.select(pl.col("treatment").alias(TREATMENT), length.alias("length"), *kept)


def lengths(profiles: pl.DataFrame, features: Sequence[str], planted: pl.DataFrame) -> Iterator[Finding]:
    """`effect_length` of treatments with at least two profiles; controls, whose mean is the origin, are none."""
    treated = profiles.filter(rows_where(profiles, "treated"))
    values = to_matrix(treated, features)
    rows = []
    for name, members in groups_of(treated, [TREATMENT]):
        products = values[members] @ values[members].T
        if len(members) > 1:
            rows.append((name, (products.sum() - np.trace(products)) / (len(members) * (len(members) - 1))))
    found = pl.DataFrame(rows, schema={TREATMENT: pl.String, "found": pl.Float64}, orient="row")
    both = found.join(planted, on=TREATMENT).sort(TREATMENT)
    points = list(both.select(TREATMENT, "length", "found").iter_rows())
    yield Finding("effect_length", spearman(both["length"], both["found"]), both.height, 0.0, points)


def ranks(
    profiles: pl.DataFrame, features: Sequence[str], planted: pl.DataFrame, seed: int,
    config: RetrievalConfig | None = None,
) -> Iterator[Finding]:  # fmt: skip
    """`active_auc` and `map_rises` of normalised profiles; `planted` is `planted_lengths`."""
    both = mean_average_precision(profiles, features, config or RetrievalConfig(), seed).join(planted, on=TREATMENT)
    both = both.sort(TREATMENT)
    if 0 < both["active"].sum() < both.height:
        auc = roc_auc(both["active"], -both["q_value"].to_numpy())
        points = list(both.select(TREATMENT, pl.col("active").cast(pl.Float64), "q_value").iter_rows())
        yield Finding("active_auc", auc, both.height, 0.5, points)
    points = list(both.select(TREATMENT, "length", "mAP").iter_rows())
    yield Finding("map_rises", spearman(both["length"], both["mAP"]), both.height, 0.0, points)


def parameters(profiles: pl.DataFrame, planted: pl.DataFrame) -> Iterator[Finding]:
    """One finding for each of READINGS that is measured and was planted: correlation over treatments of their medians
    with the planted change."""
    columns = [name for name in READINGS.values() if name in profiles.columns]
    medians = profiles.group_by(TREATMENT, maintain_order=True).agg(pl.col(columns).cast(pl.Float64).median())
    both = medians.join(planted.filter(pl.col("role") != "negcon"), on=TREATMENT).sort(TREATMENT)
    for name, column in READINGS.items():
        if column in columns and both[f"effect_{name}"].n_unique() > 1:
            rows = both.select(TREATMENT, f"effect_{name}", column).drop_nulls()
            value = correlation(rows[f"effect_{name}"], rows[column])
            yield Finding(name, value, rows.height, 0.0, list(rows.iter_rows()))


def null_wells(profiles: pl.DataFrame, features: Sequence[str], planted: pl.DataFrame, seed: int) -> Iterator[Finding]:
    """`null_retrieved`: of the wells in which nothing acts, half of each plate become treatments of one well a plate
    and the others controls, at random, NULL_DRAWS times. Nothing where a plate has under four such wells, or for one
    plate: there are no replicates."""
    acting = planted.filter("active")[TREATMENT].to_list()
    inert = profiles.filter(~pl.col(TREATMENT).is_in(acting))
    sizes = inert.group_by("Metadata_Plate").len()["len"].to_list()
    if len(sizes) < 2 or min(sizes) < 4:
        return
    rng = np.random.default_rng(seed)
    shares, groups = [], 0
    for _ in range(NULL_DRAWS):
        table = mean_average_precision(_relabelled(inert, min(sizes) // 2, rng), features, RetrievalConfig(), seed)
        shares.append(table["retrieved"].to_numpy().mean())
        groups += table.height
    real = mean_average_precision(profiles, features, RetrievalConfig(), seed)
    found = real.filter(pl.col(TREATMENT).is_in(acting))["retrieved"].to_numpy()
    counterpart = float(found.mean()) if found.size else None
    yield Finding("null_retrieved", float(np.mean(shares)), groups, 0.05, counterpart=counterpart)


def _relabelled(wells: pl.DataFrame, groups: int, rng: np.random.Generator) -> pl.DataFrame:
    """`groups` wells of each plate as treatments null-0 …, the rest as negative controls."""
    plates = []
    for plate in wells.partition_by("Metadata_Plate", maintain_order=True):
        place = rng.permutation(plate.height)
        name = pl.Series([f"null-{at}" if at < groups else "DMSO" for at in place])
        role = pl.Series([None if at < groups else "negcon" for at in place], dtype=pl.String)
        plates.append(plate.with_columns(name.alias(TREATMENT), role.alias("Metadata_control_type")))
    return pl.concat(plates)


def counting(profiles: pl.DataFrame, features: Sequence[str], planted: pl.DataFrame, seed: int) -> Iterator[Finding]:
    """`count_finds_toxic` and `count_finds_else`, of the space that holds the cell count only. What is found of the one
    is the counterpart of the other."""
    table = mean_average_precision(profiles, features, RetrievalConfig(), seed)
    both = table.join(planted, on=TREATMENT).sort(TREATMENT)
    toxic = both.filter(pl.col(COUNT) <= TOXIC)
    spared = both.filter(pl.col(COUNT).abs() < SPARED)
    shares = [float(rows["retrieved"].to_numpy().mean()) if rows.height else None for rows in (toxic, spared)]
    for check, rows, share in zip(("count_finds_toxic", "count_finds_else"), (toxic, spared), shares, strict=True):
        if share is not None:
            points = list(rows.select(TREATMENT, COUNT, "q_value").iter_rows())
            counterpart = shares[0] if check == "count_finds_else" else None
            yield Finding(check, share, rows.height, 0.05, points, counterpart)
