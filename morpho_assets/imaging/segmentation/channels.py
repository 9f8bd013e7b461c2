"""The plane of a stain among a site's channels, whatever set and order they come in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError


def plane_of(image: NDArray[np.float32], channels: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float32]:
    """The first plane (H, W) of `image` (C, H, W) whose channel is in `wanted`, in the order of `wanted`.

    Raises InputError where none of them was imaged, ValueError where names and planes do not match.
    """
    if image.ndim != 3 or len(channels) != image.shape[0]:
        raise ValueError(f"image of shape {image.shape} does not have the {len(channels)} channels {list(channels)}")
    for name in wanted:
        if name in channels:
            return image[list(channels).index(name)]
    raise InputError(
        "segmentation",
        "channel",
        f"the channels {', '.join(channels)}",
        " or ".join(wanted),
        "Name a channel of this plate in the segmentation's configuration.",
    )
