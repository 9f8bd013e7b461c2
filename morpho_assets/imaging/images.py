"""One image file to one plane of floats, and label images to files and back.

Anything that is not exactly one finite grey plane is an ImageError that says what was found: a plate of a
thousand sites has some of each kind, and none may stop it or slip through.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import ImageError
from morpho_assets.imaging.planes import ONLY, Plane, decode

Source = bytes | str | Path

_LABEL_LIMIT = np.iinfo(np.uint16).max


def read_image(
    source: Source, plane: Plane = ONLY, *, shape: tuple[int, ...] | None = None, name: str | None = None
) -> NDArray[np.float32]:
    """One grey plane of a TIFF or PNG as (H, W) float32 in [0, 1].

    `plane` names one of a file that holds several. Unsigned integers are divided by their type's maximum (255, 65535),
    as CellProfiler does, int16 without negative values as uint16; floats must already lie in [0, 1]. Colours that are
    equal throughout are grey. `shape` is the (H, W) that the site's other channels have; `name` stands for the file in
    errors where `source` is bytes.

    Raises ImageError, saying what to do, for a missing, empty or truncated file, another format, colour, several planes
    of which none is named, another dtype or shape, NaN, infinity, or floats outside [0, 1].
    """
    path, content = _content(source, name)
    pixels = decode(path, content, plane)
    if shape is not None and pixels.shape != tuple(shape):
        raise ImageError(path, f"is {pixels.shape[0]} x {pixels.shape[1]} pixels, expected {shape[0]} x {shape[1]}")
    if not pixels.size:
        raise ImageError(path, "has no pixels")
    return _unit_floats(path, pixels)


def write_labels(labels: NDArray[np.integer]) -> bytes:
    """A label image (H, W) as one deflate TIFF page, the same bytes each time: uint16, or uint32 above 65,535.

    Raises ValueError for negative labels or another number of dimensions.
    """
    import tifffile

    if labels.ndim != 2 or (labels.size and labels.min() < 0):
        raise ValueError(f"labels are a (H, W) array of numbers from 0 on, not {labels.dtype} of shape {labels.shape}")
    largest = int(labels.max(initial=0))
    file = io.BytesIO()
    dtype = np.uint16 if largest <= _LABEL_LIMIT else np.uint32
    tifffile.imwrite(file, labels.astype(dtype), compression="zlib", photometric="minisblack", metadata=None)
    return file.getvalue()


def read_labels(source: Source, *, shape: tuple[int, ...] | None = None, name: str | None = None) -> NDArray[np.int32]:
    """A label image file (TIFF or PNG of integers) as (H, W) int32; values are kept as they are.

    Raises ImageError like `read_image`, and for floats, negative numbers or numbers beyond int32.
    """
    path, content = _content(source, name)
    plane = decode(path, content)
    if plane.dtype.kind not in "ui":
        raise ImageError(path, f"holds {plane.dtype} values; labels are integers")
    if shape is not None and plane.shape != tuple(shape):
        raise ImageError(path, f"is {plane.shape[0]} x {plane.shape[1]} pixels, expected {shape[0]} x {shape[1]}")
    if plane.size and (plane.min() < 0 or plane.max() > np.iinfo(np.int32).max):
        raise ImageError(path, f"has labels from {plane.min()} to {plane.max()}; expected 0 to 2147483647")
    return plane.astype(np.int32)


def _content(source: Source, name: str | None) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        path, content = name or "image", source
    else:
        path = str(source)
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise ImageError(path, f"cannot be read: {error.strerror or error}") from error
    if not content:
        raise ImageError(path, "is empty (zero bytes)")
    return path, content


def _unit_floats(path: str, plane: NDArray[Any]) -> NDArray[np.float32]:
    if plane.dtype == np.int16 and not (plane < 0).any():  # counts of a camera, which some microscopes call signed
        plane = plane.astype(np.uint16)
    if plane.dtype in (np.uint8, np.uint16):
        return np.divide(plane, np.float32(np.iinfo(plane.dtype).max), dtype=np.float32)
    if plane.dtype.kind != "f":
        least, most = plane.min(), plane.max()
        found = f"holds {plane.dtype} values from {least:d} to {most:d}, expected uint8, uint16 or float"
        raise ImageError(path, f"{found}; {_EXPORT_RAW}")
    broken = int((~np.isfinite(plane)).sum())
    if broken:
        raise ImageError(path, f"has {broken} pixels that are NaN or infinite; {_EXPORT_RAW}")
    if plane.min() < 0 or plane.max() > 1:
        found = f"is float from {plane.min():.6g} to {plane.max():.6g}, expected values in [0, 1]"
        raise ImageError(path, f"{found}; {_EXPORT_RAW}, or divide it by what a full pixel would be")
    return plane.astype(np.float32)


_EXPORT_RAW = "export the raw image as 16-bit TIFF"
