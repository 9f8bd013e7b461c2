from __future__ import annotations

from itertools import permutations
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import PositionRule, RetrievalConfig, average_precision, mean_precision
from morpho_assets.evaluate.evaluators import evaluator_config
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets_tests.evaluate.conftest import screen

OTHERS = RetrievalConfig(negatives=PairRule(diffby=("Metadata_Perturbation",), where="treated"))


@given(st.integers(0, 50), st.booleans(), st.sampled_from(["matched", "published"]))
@settings(max_examples=30, deadline=None)
def test_ap_is_scikit_learns(seed: int, many: bool, pairs: Literal["matched", "published"]) -> None:
    frame = screen(0.5, seed, treatments=2 if many else 10, plates=40 if many else 4, features=5)
    columns = feature_columns(frame)
    values = to_matrix(frame, columns)
    scores = average_precision(values, frame, RetrievalConfig(pairing=pairs, block_mb=0.01))
    treatment, plates = frame["Metadata_Perturbation"].to_numpy(), frame["Metadata_Plate"].to_numpy()
    control = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    for i in (0, len(scores.row) // 2):
        row = scores.row[i]
        positive = (treatment == treatment[row]) & (np.arange(len(values)) != row)
        own = plates == plates[row]
        candidates = positive | control & (own if pairs == "published" else np.isin(plates, plates[positive]))
        expected = average_precision_score(positive[candidates], (unit @ unit[row])[candidates])
        assert scores.ap[i] == pytest.approx(expected, abs=1e-5)
        assert (scores.n_positives[i], scores.n_total[i]) == (positive.sum(), candidates.sum())


def test_by_hand_with_a_tie_between_a_positive_and_a_negative() -> None:
    values = np.array([[1.0, 0], [1.0, 1], [1.0, 1], [1.0, 0.1], [0.0, 1]])
    frame = pl.DataFrame({
        "Metadata_Plate": "P", "Metadata_Perturbation": ["a", "a", "c", "c", "a"],
        "Metadata_control_type": [None, None, "negcon", "negcon", None],
    })  # fmt: skip
    scores = average_precision(values, frame, RetrievalConfig())
    assert scores.row.tolist() == [0, 1, 4]
    # query 0: control 3, then positive 1 and control 2 in either order, then positive 4
    assert scores.ap[0] == pytest.approx(((1 / 2 + 1 / 3) / 2 + 2 / 4) / 2)


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_ties_count_by_the_mean_over_all_their_orders(candidates: list[tuple[int, bool]]) -> None:
    score, positive = (np.array(column) for column in zip(*candidates, strict=True))
    if not positive.any():
        return
    values = np.unique(score[positive])[::-1]
    found = mean_precision(
        np.array([(score[positive] == v).sum() for v in values]),
        np.array([(score[~positive] > v).sum() for v in values]),
        np.array([(score[~positive] == v).sum() for v in values]),
    )
    orders = [p for p in permutations(range(len(score))) if (np.diff(score[list(p)]) <= 0).all()]
    expected = [np.mean((np.cumsum(r) / np.arange(1, len(r) + 1))[r]) for r in (positive[list(p)] for p in orders)]
    assert found == pytest.approx(np.mean(expected))


def test_negatives_lie_where_the_positives_of_the_query_do_by_hand() -> None:
    """t lies twice on P and once on Q: from P it is sought on both plates, from Q on P alone."""
    frame = pl.DataFrame({
        "Metadata_Plate": ["P", "P", "Q", "P", "Q", "Q", "R"],
        "Metadata_Perturbation": ["t", "t", "t", *["DMSO"] * 4],
        "Metadata_control_type": [*[None] * 3, *["negcon"] * 4],
    })  # fmt: skip
    values = np.random.default_rng(0).normal(size=(7, 3))
    found = average_precision(values, frame, RetrievalConfig())
    assert (found.n_total - found.n_positives).tolist() == [3, 3, 1]
    assert found.beside.tolist() == [True, True, False]
    published = average_precision(values, frame, RetrievalConfig(pairing="published"))
    assert (published.n_total - published.n_positives).tolist() == [1, 1, 2]
    anywhere = average_precision(values, frame, RetrievalConfig(plate=()))
    assert (anywhere.n_total - anywhere.n_positives).tolist() == [4, 4, 4]


def test_plates_of_negatives_that_are_named_too_are_refused() -> None:
    with pytest.raises(InputError, match="sameby Metadata_Plate: with pairing matched"):
        evaluator_config({"evaluator": "retrieval", "negatives": {"sameby": ["Metadata_Plate"]}})
    evaluator_config({"evaluator": "retrieval", "negatives": {"sameby": ["Metadata_Plate"]}, "pairing": "published"})


def test_near_and_far_candidates_split_all_of_them() -> None:
    frame = screen(1, treatments=30, plates=3)
    values = to_matrix(frame, feature_columns(frame))
    others = OTHERS.model_copy(update={"pairing": "published"})
    whole = average_precision(values, frame, others)
    near, far = (
        average_precision(values, frame, others.model_copy(update={"position": PositionRule(keep=side)}))
        for side in ("near", "far")
    )
    np.testing.assert_array_equal(near.n_total + far.n_total, whole.n_total)
    assert 0 < near.n_total.sum() < far.n_total.sum()
