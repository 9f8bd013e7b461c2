"""When two measurements of one feature agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RELATIVE, ABSOLUTE = 1e-4, 1e-6


def disagreeing(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], relative: float = RELATIVE, absolute: float = ABSOLUTE
) -> NDArray[np.bool_]:
    """Where neither bound holds; NaN agrees with NaN, and with the infinities that we do not report."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours - theirs)
        close = (difference <= absolute) | (difference <= relative * np.abs(theirs))
    return ~(close | (np.isnan(ours) & ~np.isfinite(theirs)))
