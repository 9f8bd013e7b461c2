from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut

from morpho_assets.errors import InputError
from morpho_assets.evaluate.classification import METRICS, ClassificationConfig, classification
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value

QUICK = ClassificationConfig(shuffles=2)


def test_by_hand() -> None:
    """Two plates, three labels on both: `b` of plate Q lies where `a` is, all others where they were."""
    frame = pl.DataFrame({
        "Metadata_Plate": ["P"] * 3 + ["Q"] * 3, "Metadata_Perturbation": ["a", "b", "c"] * 2,
        "Metadata_control_type": pl.Series([None] * 6, dtype=pl.String),
        "Cells_0": [1.0, 0, 0, 1, 1, 0], "Cells_1": [0.0, 1, 0, 0, 0, 0], "Cells_2": [0.0, 0, 1, 0, 0, 1],
    })  # fmt: skip
    found = classification(frame, feature_columns(frame), ClassificationConfig(strength=100))
    assert found.details["predictions"].filter(Metadata_Plate="Q")["predicted"].to_list() == ["a", "a", "c"]
    right = (found.details["predictions"]["predicted"] == frame["Metadata_Perturbation"]).to_numpy().reshape(2, 3)
    assert value(found.metrics, "balanced_accuracy") == pytest.approx(right.mean(axis=0).mean())
    assert value(found.metrics, "accuracy") == pytest.approx(right.mean())
    assert value(found.metrics, "accuracy", "chance") == pytest.approx(1 / 3)
    assert found.metrics["n"].to_list() == [3, 6]


def test_it_is_scikit_learn_on_whole_plates() -> None:
    frame = screen(0.6, treatments=15)
    names = feature_columns(frame)
    config = ClassificationConfig(strength=3, shuffles=1)
    found = classification(frame, names, config)
    treated = frame.filter(pl.col("Metadata_control_type").is_null())
    labels, plates = treated["Metadata_Perturbation"].to_numpy(), treated["Metadata_Plate"].to_numpy()
    matrix = treated.select(names).to_numpy()
    right = []
    for train, test in LeaveOneGroupOut().split(matrix, labels, plates):
        centre = matrix[train].mean(axis=0)
        length = np.sqrt(((matrix[train] - centre) ** 2).sum(axis=1).mean())
        model = LogisticRegression(C=3, max_iter=2000).fit((matrix[train] - centre) / length, labels[train])
        right += list(zip(labels[test], model.predict((matrix[test] - centre) / length), strict=True))
    expected = balanced_accuracy_score(*zip(*right, strict=True))
    assert 0.2 < expected < 0.95
    assert value(found.metrics, "balanced_accuracy") == pytest.approx(expected, abs=1 / 60)


def test_more_features_than_profiles_are_turned_and_not_changed() -> None:
    frame = screen(0.4, treatments=8, plates=3, features=60)
    names = feature_columns(frame)
    found = classification(frame, names, QUICK)
    treated = frame.filter(pl.col("Metadata_control_type").is_null())
    matrix = treated.select(names).to_numpy()
    doubled = treated.with_columns(pl.DataFrame(matrix, schema=[f"Cells_more_{i}" for i in range(60)]))
    again = classification(doubled, feature_columns(doubled), QUICK)
    assert value(again.metrics, "balanced_accuracy") == pytest.approx(value(found.metrics, "balanced_accuracy"))


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_any_order_of_rows_and_any_scale_gives_the_same(seed: int) -> None:
    frame = screen(1, treatments=5, plates=3, features=6)
    names = feature_columns(frame)
    config = ClassificationConfig(shuffles=1)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed).with_columns(pl.col(names) * 7)
    both = [classification(each, names, config).metrics for each in (frame, shuffled)]
    np.testing.assert_allclose(both[0]["value"], both[1]["value"])
    np.testing.assert_allclose(both[0]["chance"], both[1]["chance"])


def test_nothing_is_at_chance_and_something_is_found() -> None:
    nothing, something = screen(0, treatments=40), screen(2, treatments=40, own=2)
    names = feature_columns(nothing)
    metrics = classification(nothing, names).metrics
    assert value(metrics, "balanced_accuracy") == pytest.approx(1 / 40, abs=0.04)
    assert value(metrics, "balanced_accuracy", "chance") == pytest.approx(1 / 40, abs=0.02)
    assert value(classification(something, names).metrics, "balanced_accuracy") > 0.9


def test_a_mark_of_the_plate_does_not_help_across_plates() -> None:
    """Treatments on one plate each are told by their plates' marks within plates, which is why that is said."""
    frame = screen(0, treatments=12, plates=4, batch=20).filter(pl.col("Metadata_control_type").is_null())
    number, plate = (pl.col(f"Metadata_{name}").str.slice(1).cast(pl.Int64) for name in ("Perturbation", "Plate"))
    own = frame.filter(number % 4 == plate)
    twice = pl.concat([own, own.with_columns(pl.col("^Cells_.*$") + 0.1)])
    metrics = classification(twice, feature_columns(twice), QUICK).metrics
    assert metrics["metric"].to_list() == [f"{name}_within_plate" for name in METRICS]
    assert value(metrics, "balanced_accuracy_within_plate") > 0.3
    by_batch = ClassificationConfig(split=("Metadata_Plate", "Metadata_moa"), shuffles=1)
    named = classification(twice, feature_columns(twice), by_batch).metrics["metric"][0]
    assert named == "balanced_accuracy_within_plate_moa"


def test_labels_of_one_plate_are_not_scored() -> None:
    frame = screen(2, treatments=6)
    alone = frame.filter((pl.col("Metadata_Perturbation") != "t00") | (pl.col("Metadata_Plate") == "P0"))
    found = classification(alone, feature_columns(alone), QUICK)
    assert found.scores["treatment"].to_list() == [f"t{i:02d}" for i in range(1, 6)]
    assert found.metrics["n"].to_list() == [5, 20]


def test_edges() -> None:
    frame = screen(2, treatments=6)
    one = frame.filter(pl.col("Metadata_Perturbation").is_in(["t00", "DMSO"]))
    assert classification(one, feature_columns(one), QUICK).metrics.select("value", "n").rows() == [(None, 0)] * 2
    assert classification(one.clear(), feature_columns(one), QUICK).metrics["n"].to_list() == [0, 0]
    constant = frame.with_columns(Cells_0=pl.lit(1.0))
    found = classification(constant, ["Cells_0"], QUICK)
    assert value(found.metrics, "balanced_accuracy") <= 1 / 6 + 1e-9
    with pytest.raises(InputError, match="Metadata_Nothing"):
        classification(frame, feature_columns(frame), ClassificationConfig(split=("Metadata_Nothing",)))
