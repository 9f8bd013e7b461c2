"""The list of stages: in order, over declared tables, with checks that a good plate passes."""

import pytest

from morpho_assets.lake.tables import TABLES
from morpho_assets.stages import PLATE_STAGES, STAGES
from morpho_assets_tests.factories import verdict


def test_stages_read_only_stages_before_them_and_write_declared_tables():
    known = {}
    for name, stage in STAGES.items():
        for each in stage.inputs:
            assert set(each.tables) <= set(known[each.stage]), name
        assert set(stage.outputs) <= set(TABLES), name
        known[name] = stage.outputs


CHECKS = [(name, check.name) for name in PLATE_STAGES for check in STAGES[name].checks]


@pytest.mark.parametrize(("stage", "check"), CHECKS)
def test_a_good_plate_passes_every_check(plate_lake, stage, check):
    assert verdict(plate_lake, stage, check).passed
