"""Illumination of movies: each frame is corrected by the function of the frames around it.

The lamp of a movie drifts, and a movie's frames are more alike than a plate's sites. So the function of a frame is that
of so many frames before and after it in the same file (T2 of Tomkinson 2024, 10.1186/s44330-024-00014-3: two of each),
estimated when the frame is read: nothing is stored of it, whatever the number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import ImageError
from morpho_assets.imaging.illumination import LEAST_IMAGES, Illumination, IlluminationConfig, estimate_illumination
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.planes import Plane, plane_count

WRITTEN = ".json"
"""The end of the name of a function that is a recipe: the settings by which it is estimated at reading."""


def recipe_of(config: IlluminationConfig) -> bytes:
    """The settings as the file that stands for the functions of a channel."""
    return config.model_dump_json(indent=1).encode()


def read_recipe(content: bytes) -> IlluminationConfig:
    return IlluminationConfig.model_validate_json(content)


def frames_around(frame: int, planes: int, reach: int) -> range:
    """The frames from `reach` before to `reach` after, as far as the file has them."""
    return range(max(0, frame - reach), min(planes, frame + reach + 1))


def function_of_frame(content: bytes, plane: Plane, config: IlluminationConfig, path: str) -> Illumination:
    """The illumination of one frame of a file of planes. ImageError, naming `path`, for a file of fewer than three
    frames around it, and for frames that cannot be read."""
    planes = plane_count(path, content, plane.series)
    around = frames_around(plane.frame or 0, planes, config.frames or 0)
    if len(around) < LEAST_IMAGES:
        reason = (
            f"has {len(around)} frames around frame {plane.frame or 0}, where its illumination takes {LEAST_IMAGES}"
        )
        raise ImageError(path, f"{reason}; leave illumination.frames out, or name the planes of a movie")

    def images() -> Iterator[NDArray[np.float32]]:
        for number in around:
            yield read_image(content, Plane(plane.series, number), name=path)

    return estimate_illumination(images(), config)
