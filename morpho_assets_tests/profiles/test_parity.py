"""Agreement with pycytominer 1.7.1 on real plates: what its users get, they get here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.profiles import select as rules
from morpho_assets.profiles.aggregate import AggregateConfig, aggregate
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.select import SelectConfig, select_features, unreliable_features

pycytominer = pytest.importorskip("pycytominer", reason="the outside reference")


def assert_same_features(ours: pl.DataFrame, theirs, rtol: float = 1e-6) -> None:  # type: ignore[no-untyped-def]
    columns = feature_columns(ours)
    assert set(columns) == set(feature_columns(pl.from_pandas(theirs)))
    np.testing.assert_allclose(to_matrix(ours, columns), theirs[columns].to_numpy(float), rtol=rtol, atol=1e-9)


def test_standardising_the_whole_plate_gives_the_shipped_stage(pediatric: dict[str, pl.DataFrame]) -> None:
    config = NormalizeConfig(method="standardize", reference="all", flat="centre", floor=1e-15)
    ours = normalize(pediatric["bulk_annotated"], config)
    shipped = pediatric["bulk_normalized"]
    columns = feature_columns(shipped)
    np.testing.assert_allclose(to_matrix(ours, columns), to_matrix(shipped, columns), rtol=1e-9, atol=1e-9)


def scores_are_comparable(values: pl.Series) -> bool:
    """Theirs splits tied values where its quantiles round, and takes what is within 1e-7 of an end for the end."""
    return bool(values.sort().diff().min() > 1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize", "inverse_normal"])
def test_normalisation_on_chosen_rows(pediatric: dict[str, pl.DataFrame], method: str) -> None:
    frame = pediatric["bulk_annotated"].with_columns(pl.col("Metadata_row").cast(pl.String))
    chosen = sorted(frame["Metadata_row"].unique())[:3]
    ours = normalize(frame, NormalizeConfig.model_validate(
        {"method": method, "reference": f"Metadata_row IN ({', '.join(map(repr, chosen))})"}))  # fmt: skip
    theirs = pycytominer.normalize(frame.to_pandas(), method=method, samples=f"Metadata_row in {chosen}")
    columns = [c for c in feature_columns(ours) if ours[c].null_count() == 0]
    if method == "inverse_normal":
        columns = [c for c in columns if scores_are_comparable(frame[c])]
    assert len(columns) > 1000  # the rest is flat on the chosen rows: theirs explodes or is 0, ours is null
    expected = theirs[columns].to_numpy(float)
    np.testing.assert_allclose(to_matrix(ours, columns), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (rules.DropNaColumns(cutoff=0.05), {"operation": "drop_na_columns"}),
        (rules.FrequencyThreshold(), {"operation": "frequency_threshold"}),
        (rules.VarianceThreshold(), {"operation": "variance_threshold"}),
        (rules.CorrelationThreshold(), {"operation": "correlation_threshold"}),
        (rules.Blocklist(), {"operation": "blocklist"}),
        (rules.DropOutliers(cutoff=5), {"operation": "drop_outliers", "outlier_cutoff": 5}),
        (rules.NoiseRemoval(group=("Metadata_cell_line",)),
         {"operation": "noise_removal", "noise_removal_perturb_groups": "Metadata_cell_line",
          "noise_removal_stdev_cutoff": 0.8}),
    ],
    ids=lambda value: value.operation if isinstance(value, rules._Operation) else "",
)  # fmt: skip
def test_each_rule_drops_the_same_columns(pediatric: dict[str, pl.DataFrame], rule, theirs: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    frame = varying(pediatric["bulk_normalized"])
    ours = select_features(frame, SelectConfig(operations=(rule,)))
    kept = pycytominer.feature_select(frame.to_pandas(), **theirs)
    assert set(ours.kept) == set(feature_columns(pl.from_pandas(kept)))


def varying(frame: pl.DataFrame) -> pl.DataFrame:
    """A fifth of the features, without constant ones: theirs warns of these and takes minutes over all."""
    columns = feature_columns(frame)
    flat = [name for name in columns if frame[name].n_unique() == 1]
    return frame.drop(set(columns) - set(columns[::5]) | set(flat))


def test_rank_correlation_differs_only_between_features_that_tie(pediatric: dict[str, pl.DataFrame]) -> None:
    frame = varying(pediatric["bulk_normalized"])
    columns = feature_columns(frame)
    ours = select_features(frame, SelectConfig(operations=(rules.CorrelationThreshold(method="spearman"),)))
    kept = pycytominer.feature_select(frame.to_pandas(), operation="correlation_threshold", corr_method="spearman")
    sums = np.abs(rules.correlations(to_matrix(frame, columns), "spearman")).sum(axis=0)
    ties = {name for i, name in enumerate(columns) if (np.abs(sums - sums[i]) < 1e-9).sum() > 1}
    different = set(ours.kept) ^ set(feature_columns(pl.from_pandas(kept)))
    assert different <= ties
    assert len(ours.kept) == len(feature_columns(pl.from_pandas(kept)))


def test_rules_in_order_keep_the_same_columns(pediatric: dict[str, pl.DataFrame]) -> None:
    frame = varying(pediatric["bulk_normalized"])
    names = ["drop_na_columns", "frequency_threshold", "variance_threshold", "blocklist", "correlation_threshold",
             "drop_outliers"]  # fmt: skip
    steps = tuple({"operation": name} | ({"cutoff": 0.05} if name == "drop_na_columns" else {}) for name in names)
    ours = select_features(frame, SelectConfig.model_validate({"operations": steps}))
    kept = pycytominer.feature_select(frame.to_pandas(), operation=names)
    assert set(ours.kept) == set(feature_columns(pl.from_pandas(kept)))


def test_blocklist_is_the_published_one() -> None:
    from pycytominer.cyto_utils import Blocklist

    assert sorted(unreliable_features()) == sorted(Blocklist(blocklist_name="default").to_list())


@pytest.mark.parametrize("method", ["median", "mean"])
def test_aggregation_of_real_cells(reference_data: Path, method: str) -> None:
    cells = pl.read_csv(reference_data / "cpg0043_BR00116991_A01_1" / "Cells.csv", infer_schema_length=None)
    cells = cells.rename(lambda name: f"Cells_{name}").with_columns(
        pl.lit("P").alias("Metadata_Plate"),
        (pl.int_range(pl.len()) % 7).cast(pl.String).alias("Metadata_Well"),
    )
    ours = aggregate(cells, config=AggregateConfig.model_validate({"method": method, "block_gb": 1e-4}))
    theirs = pycytominer.aggregate(cells.to_pandas(), operation=method)
    assert_same_features(ours, theirs)
    assert ours["Metadata_Count_Cells"].to_list() == [16, 16, 16, 16, 15, 15, 15]


@pytest.mark.parametrize("method", ["median", "mean", "modz"])
def test_consensus_of_real_replicates(jump_plates: pl.DataFrame, method: str) -> None:
    columns = feature_columns(jump_plates)[:60]
    frame = jump_plates.filter(pl.col("Metadata_control_type").is_null())
    frame = frame.select("Metadata_Perturbation", "Metadata_pert_iname", *columns).filter(
        pl.col("Metadata_Perturbation").is_in(frame["Metadata_Perturbation"].unique().sort()[:40].implode())
    )
    ours = consensus(frame, ConsensusConfig.model_validate({"method": method}))
    theirs = pycytominer.consensus(frame.to_pandas(), replicate_columns=["Metadata_Perturbation"], operation=method)
    theirs = theirs.sort_values("Metadata_Perturbation")
    assert ours["Metadata_Perturbation"].to_list() == theirs["Metadata_Perturbation"].tolist()
    assert "Metadata_pert_iname" in ours.columns
    assert_same_features(ours, theirs)
