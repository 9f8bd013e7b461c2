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
PROFILE_EVALUATORS = ("retrieval", "consistency", "replicability", "enrichment", "nsc", "grit", "silhouette",
                      "cluster_validation", "batch")  # fmt: skip


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
