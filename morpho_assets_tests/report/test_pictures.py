from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from morpho_assets.report.pictures import LARGEST_BYTES, photo_bytes


@pytest.mark.parametrize("side", [1, 50, 1400])
def test_any_picture_fits(side):
    data = photo_bytes(np.random.default_rng(0).random((side, side, 3)))
    width, height = Image.open(io.BytesIO(data)).size
    assert len(data) < LARGEST_BYTES
    assert width == height
    assert width == side or side == 1400


def test_values_beyond_the_range_are_clipped_and_nan_is_black():
    pixels = np.zeros((16, 16, 3))
    pixels[:8], pixels[8:] = 7.0, np.nan
    shown = np.asarray(Image.open(io.BytesIO(photo_bytes(pixels))))
    assert shown[2, 8].min() > 240
    assert shown[13, 8].max() < 15
