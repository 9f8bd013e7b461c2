"""One field brought into the layout of the kernels, and what more than one module needs of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.measure.edge_distance import squared_edge_distance, within_frame
from morpho_assets.measure.kernels import kernel
from morpho_assets.measure.objects import Objects, find_objects
from morpho_assets.measure.ranks import Ranking, rank_values


@dataclass(frozen=True)
class Site:
    """What the modules measure: image (C, H, W) float32, its channels' names, objects per compartment.

    Whatever more than one module needs is computed once, on first use.
    """

    image: NDArray[np.float32]
    channels: tuple[str, ...]
    objects: dict[str, Objects]
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, what: str, compute: Callable[[], Any]) -> Any:
        """The result of `compute`, kept under the name `what`."""
        if what not in self._shared:
            self._shared[what] = compute()
        return self._shared[what]

    def values(self, compartment: str) -> NDArray[np.float32]:
        """(C, N) intensities of the compartment's pixels, in the order of its objects' pixels."""
        return self.once(f"values {compartment}", lambda: gather(self.image, self.objects[compartment]))

    def ranking(self, compartment: str) -> Ranking:
        """The order of the compartment's intensities, per channel."""
        objects, values = self.objects[compartment], self.values(compartment)
        return self.once(f"ranking {compartment}", lambda: rank_values(values, objects.owners, objects.starts))

    def framed_distance(self, compartment: str) -> NDArray[np.int32]:
        """(N,) squared distance to the object's edge, where the image's frame is an edge too."""
        objects = self.objects[compartment]
        return self.once(f"framed_distance {compartment}", lambda: squared_edge_distance(objects, frame_is_edge=True))

    def edge_distance(self, compartment: str) -> NDArray[np.int32]:
        """(N,) squared distance to the object's edge, where the image's frame is no edge."""
        objects = self.objects[compartment]
        return self.once(
            f"edge_distance {compartment}", lambda: within_frame(objects, self.framed_distance(compartment))
        )


def gather(image: NDArray[np.float32], objects: Objects) -> NDArray[np.float32]:
    """(C, N) intensities of (C, H, W) at the objects' pixels, in their order."""
    values = np.empty((len(image), len(objects.rows)), np.float32)
    gather_pixels(image, objects.rows, objects.cols, values)
    return values


@kernel
def gather_pixels(image, rows, cols, values):
    """Fill values (C, N) from (C, H, W) at (N,) rows and columns."""
    spots, width = np.empty(len(rows), np.uint32), image.shape[2]
    for place in range(len(rows)):
        spots[place] = rows[place] * width + cols[place]
    for channel in range(len(image)):
        flat, gathered = image[channel].reshape(-1), values[channel]
        for place in range(len(spots)):
            gathered[place] = flat[spots[place]]


def prepare(image: NDArray[Any], labels: Mapping[str, NDArray[np.integer]], channels: Sequence[str]) -> Site:
    """Check one field's inputs against each other and bring them into the kernels' layout."""
    if image.ndim != 3 or image.dtype.kind not in "fu" or (image.dtype.kind == "u" and image.dtype != np.uint16):
        found = f"shape {image.shape}, dtype {image.dtype}"
        raise InputError("image", "", found, "(channels, height, width) of floats or uint16", "Convert the image.")
    if len(channels) != len(image) or len(set(channels)) != len(channels):
        raise InputError("channels", "", f"{list(channels)}", f"{len(image)} different names", "Name every channel.")
    for compartment, label_image in labels.items():
        if label_image.shape != image.shape[1:]:
            found = f"shape {label_image.shape}"
            raise InputError("labels", compartment, found, f"the image's {image.shape[1:]}", "Give the same field.")
    if image.dtype == np.uint16:
        image = image / np.float32(65535)
    pixels = np.ascontiguousarray(image, dtype=np.float32)
    if not np.isfinite(pixels).all():
        raise InputError("image", "", "NaN or infinite intensities", "finite ones", "Mask or repair the image first.")
    return Site(pixels, tuple(channels), {name: find_objects(image, name) for name, image in labels.items()})
