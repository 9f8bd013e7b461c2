"""What an autoencoder makes of windows that it did not learn from, as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.learn.cells import Cells
from morpho_assets.learn.crops import Scaling
from morpho_assets.learn.encoders import Trained
from morpho_assets.learn.kinds import kind_of

SHOWN = 8
"""Windows, of as many wells as there are."""


def redrawn_windows(
    trained: Trained, cells: Cells, wells: Sequence[str], scalings: Mapping[str, Scaling]
) -> str | None:
    """Base64 of a grey PNG: windows of the wells that were held out (of all where none were) from left to right, and
    below each image that the network sees what it makes of it. None for an encoder that redraws nothing."""
    redraw = getattr(kind_of(trained.card.config), "redrawn", None)
    if redraw is None:
        return None
    held = set(trained.card.seen.validation_wells)
    known = np.flatnonzero([not held or well in held for well in wells])
    rows = known[np.unique(np.linspace(0, len(known) - 1, min(SHOWN, len(known))).astype(int))]
    columns = []
    for row in rows:
        one = cells[row : row + 1]
        plate = "" if one.plates is None else str(one.plates[0])
        scaled = trained.scaled(one, scalings.get(plate))
        seen, made = redraw(trained.card.config, trained.weights, scaled.crops, scaled.own)
        columns.append(np.vstack([np.vstack(pair) for pair in zip(seen[0], made[0], strict=True)]))
    return _png(np.hstack(columns))


def _png(plane: NDArray[np.float32]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    grey = (255 * np.nan_to_num(np.clip(plane, 0, 1))).astype(np.uint8)
    Image.fromarray(grey).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
