from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.relationships import RelationshipsConfig, relationships
from morpho_assets.profiles.features import feature_columns
from morpho_assets_tests.evaluate.conftest import screen, value


def test_recall_by_hand() -> None:
    """Six treatments on a circle, two of them opposite: of 15 pairs the ends of 10 % hold the two most and the two
    least alike. Of the two pairs that are known one is an opposite, the other lies in the middle: half, and of the
    alike none."""
    angles = {"a": 0.0, "b": 0.02, "c": 1.0, "d": 1.03, "e": 3.14, "f": 2.0}
    labels = {"a": "x", "e": "x", "b": "y", "c": "y"}
    frame = pl.DataFrame({
        "Metadata_Perturbation": list(angles), "Metadata_moa": [labels.get(name) for name in angles],
        "Metadata_control_type": pl.Series([None] * 6, dtype=pl.String),
        "Cells_0": [pl.Series([x]).cos()[0] for x in angles.values()],
        "Cells_1": [pl.Series([x]).sin()[0] for x in angles.values()],
    })  # fmt: skip
    found = relationships(frame, ["Cells_0", "Cells_1"], RelationshipsConfig(percent=10)).metrics
    assert value(found, "recall") == 0.5
    assert value(found, "recall_alike") == 0
    assert value(found, "recall", "chance") == pytest.approx(4 / 15, abs=0.03)


def test_planted_mechanisms_are_recalled_and_shuffled_ones_are_not() -> None:
    frame = screen(2, treatments=60, mechanisms=20)
    found = relationships(frame, feature_columns(frame)).metrics
    assert value(found, "recall") > 0.9
    assert value(found, "recall", "p_value") < 0.01
    assert value(found, "recall", "chance") == pytest.approx(0.1, abs=0.01)
    assert value(found, "recall_alike", "chance") == pytest.approx(0.05, abs=0.01)
    noise = relationships(screen(0, treatments=60, mechanisms=20), feature_columns(frame)).metrics
    assert value(noise, "recall", "ci_low") < 0.1 < value(noise, "recall", "ci_high")


def test_pairs_may_come_from_a_file(tmp_path: Path) -> None:
    frame = screen(2, treatments=12)
    file = tmp_path / "pairs.csv"
    file.write_text("one,other\nt00,t04\nt01,t05\nt02,elsewhere\nt03,t03\n")
    found = relationships(frame, feature_columns(frame), RelationshipsConfig(pairs=str(file), percent=20))
    assert value(found.metrics, "recall", "n") == 4
    assert found.details["related"]["n_related"].to_list() == [1, 1, 1, 1]
    file.write_text("one\nt00\n")
    with pytest.raises(InputError, match="found 1 columns; expected two columns"):
        relationships(frame, feature_columns(frame), RelationshipsConfig(pairs=str(file)))
    with pytest.raises(InputError, match="no such file"):
        relationships(frame, feature_columns(frame), RelationshipsConfig(pairs=str(tmp_path / "none.csv")))


def test_nothing_known_is_nothing_to_ask() -> None:
    frame = screen().with_columns(Metadata_moa=pl.lit(None, pl.String))
    found = relationships(frame, feature_columns(frame)).metrics
    assert found.select("metric", "value", "n").rows() == [("recall", None, 0), ("recall_alike", None, 0)]
