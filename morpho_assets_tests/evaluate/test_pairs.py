from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.pairs import PairRule, label_sets, pairing

META = pl.DataFrame(
    {
        "Metadata_t": ["a", "a", "b", None, None],
        "Metadata_p": ["P", "Q", "P", "P", "Q"],
        "Metadata_targets": ["x|y", "y", "z", None, ""],
        "Metadata_control_type": [None, None, None, "negcon", "negcon"],
    }
)
ALL = np.arange(5)


def partners(rule: PairRule, row: int) -> list[int]:
    return np.flatnonzero(pairing(META, rule).mask(ALL)[row]).tolist()


def test_same_different_and_allowed_partners_null_matches_nothing() -> None:
    assert partners(PairRule(sameby=("Metadata_t",)), 0) == [1]
    assert partners(PairRule(sameby=("Metadata_t",), diffby=("Metadata_p",)), 0) == [1]
    assert partners(PairRule(sameby=("Metadata_t",)), 3) == []
    assert partners(PairRule(diffby=("Metadata_t",)), 0) == [2]
    assert partners(PairRule(sameby=("Metadata_p",), where="negcon"), 0) == [3]
    assert partners(PairRule(), 2) == [0, 1, 3, 4]


def test_several_labels_share_any_or_none() -> None:
    assert partners(PairRule(sameby=("Metadata_targets",), multilabel="Metadata_targets"), 0) == [1]
    assert partners(PairRule(diffby=("Metadata_targets",), multilabel="Metadata_targets"), 0) == [2]
    assert label_sets(META["Metadata_targets"])[1] == ["x", "y", "z"]


def test_an_absent_column_is_named() -> None:
    with pytest.raises(InputError, match="Metadata_absent"):
        pairing(META, PairRule(sameby=("Metadata_absent",)))


def test_labels_of_no_rule_are_refused() -> None:
    with pytest.raises(ValueError, match="neither in sameby nor in diffby"):
        PairRule(sameby=("Metadata_t",), multilabel="Metadata_targets")
