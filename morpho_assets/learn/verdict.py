"""Whether a training came to anything, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.learn.lesson import Learned

NOT_TRAINED = "not trained"
LEARNED = "learned"
CONSTANT = "constant: it gives every window the same"
NOTHING = "nothing: windows held out are told no better than by an answer that looks at no image"
NEARLY_ALL = 0.99
"""Share of windows that get one and the same name, from which on the name says nothing."""
SPREAD = 1e-4
"""Of embeddings around their mean, relative to its length: below it all windows have one embedding."""


def verdict_on(learned: Learned, vectors: NDArray[np.floating[Any]]) -> str:
    """One of the sentences above. `vectors` (n, d) are embeddings of windows; of a single one nothing is constant.

    A network that names all windows alike is constant only where there is more than one name to give among those
    that validate.
    """
    history = learned.history
    if not history.train:
        return NOT_TRAINED
    length = float(np.linalg.norm(vectors.mean(axis=0)))
    same = len(vectors) > 1 and float(np.linalg.norm(vectors.std(axis=0))) <= SPREAD * max(length, SPREAD)
    one_name = learned.scores.get("most_named", 0.0) >= NEARLY_ALL > learned.scores.get("majority", 0.0)
    if same or one_name:
        return CONSTANT
    if history.trivial is not None and min(history.validation) >= history.trivial:
        return NOTHING
    return LEARNED
