"""Every column has an oracle, and what the registry says of the checks is so."""

from __future__ import annotations

from importlib import import_module

import pytest

from morpho_assets.measure import feature_columns
from morpho_assets.measure.oracles import CELLPROFILER, CHECKS, Check
from morpho_assets_tests.measure.fields import CHANNELS, COMPARTMENTS

COLUMNS = feature_columns(CHANNELS, COMPARTMENTS, "jump")


def test_every_column_was_checked_against_cellprofiler_once() -> None:
    assert len(COLUMNS) == 3501
    checks = [check for check in CHECKS if check.oracle == CELLPROFILER]
    assert {sum(check.covers(name) for check in checks) for name in COLUMNS} == {1}


def test_exceptions_are_at_most_one_percent_of_the_features() -> None:
    excepted = {name for check in CHECKS if check.oracle == CELLPROFILER for name in check.but}
    assert excepted <= set(COLUMNS)
    assert len(excepted) <= 0.01 * len(COLUMNS)


def test_columns_that_ties_decide_have_an_oracle_for_the_default_too() -> None:
    """CellProfiler's values are of its own ties; the default's need their own."""
    decided = [name for name in COLUMNS if "_RadialDistribution_" in name or "_Location_MaxIntensity_" in name]
    checks = [check for check in CHECKS if "ties: centroid" in check.settings]
    assert {sum(check.covers(name) for check in checks) for name in decided} == {1}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.family}-{check.settings}")
def test_checks_are_run_by_the_test_that_they_name(check: Check) -> None:
    module, test = check.test.split("::")
    assert callable(getattr(import_module(f"morpho_assets_tests.measure.{module}"), test))
    assert not check.but or check.because
