from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import EVALUATORS, evaluate, evaluator_config
from morpho_assets.evaluate.metrics import METRICS_SCHEMA
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen

SETTINGS = {
    "nsc": {"batch": "Metadata_Plate"},
    "consistency": {"label": "Metadata_moa"},
    "enrichment": {"percentile": 80},
    "cluster_validation": {"cluster": "Metadata_moa"},
}
NOISE = {"consistency": {"activity": None}, "batch": {"perplexity": 8}}
NOT_EXPECTATIONS = ("naive_mann_whitney_u",)
MIXING = ("graph_connectivity", "kBET", "iLISI", "batch_ASW", "batch_mean", "overall", "naive_mann_whitney_u")
PROFILE_EVALUATORS = (
    "retrieval",
    "consistency",
    "replicability",
    "enrichment",
    "nsc",
    "prediction",
    "grit",
    "silhouette",
    "cluster_validation",
    "batch",
)  # fmt: skip; potency needs doses: test_potency.py


@pytest.mark.parametrize("name", PROFILE_EVALUATORS)
def test_every_evaluator_gives_rows_with_chance_and_n_and_the_same_again(name: str) -> None:
    frame = screen(2)
    settings = {"evaluator": name, **SETTINGS.get(name, {})}
    found = evaluate(frame, feature_columns(frame), settings, seed=3)
    assert dict(found.metrics.schema) == METRICS_SCHEMA
    overall = found.metrics.filter(scope="overall")
    assert overall.height > 0
    assert found.metrics["evaluator"].unique().to_list() == [name]
    assert found.metrics["chance"].null_count() == 0
    assert (found.metrics["n"] > 0).all()
    assert evaluate(frame, feature_columns(frame), evaluator_config(settings), seed=3).metrics.equals(found.metrics)


@pytest.mark.parametrize("name", PROFILE_EVALUATORS)
def test_every_evaluator_is_at_its_chance_on_noise(name: str) -> None:
    settings = {"evaluator": name, **SETTINGS.get(name, {}), **NOISE.get(name, {})}
    rows = []
    for seed in range(12):
        frame = screen(0, seed, treatments=40, plates=4, controls=20, mechanisms=8)
        rows.append(evaluate(frame, feature_columns(frame), settings, seed).metrics.filter(scope="overall"))
    table = pl.concat(rows).group_by("metric").agg(
        (pl.col("value") - pl.col("chance")).mean().alias("off"),
        ((pl.col("value") - pl.col("chance")).std() / pl.len().sqrt()).alias("error"), pl.len(),
    )  # fmt: skip
    for metric, off, error, n in table.iter_rows():
        if metric == "fraction_retrieved":  # a bound: false discoveries are this rate at most
            assert off <= 0
        elif name == "prediction":  # the greatest of three: of the commonest class, drawn ones and permuted ones
            assert off <= 4 * error + 1e-9, metric
        elif metric not in NOT_EXPECTATIONS:
            assert n == 12
            assert abs(off) <= 4 * error + 1e-9, metric


@pytest.mark.parametrize("name", PROFILE_EVALUATORS)
def test_profiles_without_information_do_not_beat_chance(name: str) -> None:
    frame = screen(0, treatments=30).with_columns(Cells_0=pl.lit(1.0))
    settings = {"evaluator": name, **SETTINGS.get(name, {}), **NOISE.get(name, {})}
    metrics = evaluate(frame, ["Cells_0"], settings).metrics.filter(pl.col("value").is_not_null())
    for row in metrics.filter(scope="overall").iter_rows(named=True):
        if row["metric"] not in MIXING:  # batches that cannot be told apart are mixed
            assert row["value"] <= row["chance"] + 0.12, row


@pytest.mark.parametrize("name", PROFILE_EVALUATORS)
def test_no_features_are_refused(name: str) -> None:
    frame = screen(2)
    settings = {"evaluator": name, **SETTINGS.get(name, {})}
    for call in (evaluate, lambda f, columns, s: EVALUATORS[name][1](f, columns, evaluator_config(s), 0)):
        with pytest.raises(InputError, match="no feature column"):
            call(frame, [], settings)


@pytest.mark.parametrize("settings", [{"evaluator": "truth"}, {"evaluator": "segmentation", "nuclei": "{plate}.tif"}])
def test_evaluators_of_something_else_are_named(settings: dict[str, object]) -> None:
    frame = screen()
    with pytest.raises(InputError, match=f"{settings['evaluator']}: found no evaluator of profiles; expected one of r"):
        evaluate(frame, feature_columns(frame), settings)


@pytest.mark.parametrize("name", PROFILE_EVALUATORS)
def test_the_order_of_rows_does_not_matter_where_no_chance_is_drawn(name: str) -> None:
    frame = screen(2)
    settings = {"evaluator": name, **SETTINGS.get(name, {})}
    plain, turned = (evaluate(f, feature_columns(f), settings).metrics for f in (frame, frame.reverse()))
    keys = ["scope", "metric"]
    both = plain.sort(keys).select(pl.col("value").round(5)), turned.sort(keys).select(pl.col("value").round(5))
    if name == "replicability":  # its limit is a percentile of random pairs
        assert (both[0]["value"] - both[1]["value"]).abs().max() < 0.1  # type: ignore[operator]
    else:
        assert both[0].equals(both[1])


@pytest.mark.parametrize(("settings", "message"), [({"evaluator": "magic"}, ", ".join(EVALUATORS)), ({}, "unknown"),
                                                   ({"evaluator": "grit", "grup": 1}, "grit.grup")])  # fmt: skip
def test_settings_that_do_not_exist(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluator_config(settings)


def test_labels_of_no_rule_are_refused() -> None:
    settings = {"evaluator": "retrieval", "positives": {"sameby": ["Metadata_t"], "multilabel": "Metadata_moa"}}
    with pytest.raises(InputError, match=r"retrieval.positives: found .*neither in sameby nor in diffby"):
        evaluator_config(settings)
