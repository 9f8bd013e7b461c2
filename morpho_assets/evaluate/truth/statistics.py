"""The statistics that the checks share; NaN where they mean nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def correlation(planted: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Pearson's correlation; NaN for fewer than three units, a constant side or a missing value."""
    x, y = np.asarray(planted, dtype=float), np.asarray(found, dtype=float)
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0 or not np.isfinite([x, y]).all():
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def spearman(planted: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Rank correlation; NaN as `correlation`."""
    from scipy.stats import rankdata

    x, y = np.asarray(planted, dtype=float), np.asarray(found, dtype=float)
    return correlation(rankdata(x), rankdata(y)) if np.isfinite([x, y]).all() else float("nan")


def roc_auc(positive: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Chance that a positive unit scores above a negative one, ties one half; NaN without either."""
    from scipy.stats import rankdata

    true, ranks = np.asarray(positive, dtype=bool), rankdata(np.asarray(score, dtype=float))
    yes, no = int(true.sum()), int((~true).sum())
    return float((ranks[true].sum() - yes * (yes + 1) / 2) / (yes * no)) if yes and no else float("nan")
