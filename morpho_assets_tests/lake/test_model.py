"""The model of the ledger, with as many examples as there is time for; run as a module it has any number."""

import pytest

from morpho_assets_tests.lake.model import check


@pytest.mark.parametrize("examples", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_whatever_happens_the_ledger_tells_the_truth(examples):
    check(examples, 1)
