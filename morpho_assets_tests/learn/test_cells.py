from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells, joined


def cells(n: int = 3, own: bool = False) -> Cells:
    crops = np.stack([np.full((n, 4, 4), number, np.float32) for number in range(3)], axis=1)
    return Cells(crops, ("DNA", "ER", "Mito"), np.ones((n, 4, 4), bool) if own else None, np.full(n, "P1"))


def test_channels_are_taken_by_name_whatever_their_order():
    seen = cells().seeing(["Mito", "DNA"], 4, own=False)
    assert seen.channels == ("Mito", "DNA")
    np.testing.assert_array_equal(seen.crops[0, :, 0, 0], [2, 0])


@pytest.mark.parametrize(
    ("wanted", "side", "own", "found"),
    [
        (["DNA", "AGP"], 4, False, "channel AGP"),
        (["DNA"], 8, False, r"windows \(3, 4, 4\); expected the channels DNA, windows of 8 x 8"),
        (["DNA"], 4, True, "no pixels of the cell's own"),
    ],
)
def test_what_does_not_fit_is_refused(wanted, side, own, found):
    with pytest.raises(InputError, match=found):
        cells().seeing(wanted, side, own)


def test_parts_are_joined_and_rows_taken():
    both = joined([cells(2, own=True), cells(1, own=True)])
    assert len(both) == 3
    assert both[np.array([2])].own.shape == (1, 4, 4)
    assert both[1:].plates.tolist() == ["P1", "P1"]
