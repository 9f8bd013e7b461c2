"""Checks against known truth over metrics written by hand."""

import polars as pl

from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_tables, study, verdict


def test_checks_against_known_truth_repeat_the_metrics_and_pass_where_nothing_is_known(tmp_path):
    lake = Lake(str(tmp_path))
    row = {"study": "s", "variant": "truth", "evaluator": "truth", "scope": "check", "metric": "nuclei_f1"}
    bound = {"value": 0.5, "at_least": 0.9, "holds": False, "n": 4}
    commit_tables(lake, "evaluation", study("s"), {"metrics": pl.DataFrame([row | bound])})
    found = verdict(lake, "evaluation", "truth_nuclei_f1", "s")
    assert not found.passed
    assert not found.blocking
    assert found.facts["at_least"] == 0.9
    unknown = verdict(lake, "evaluation", "truth_nsc", "s")
    assert unknown.passed
    assert "nothing to compare" in unknown.text
