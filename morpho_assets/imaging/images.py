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

Source = bytes | str | Path

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_LABEL_LIMIT = np.iinfo(np.uint16).max


def read_image(source: Source, *, shape: tuple[int, ...] | None = None, name: str | None = None) -> NDArray[np.float32]:
    """One grey TIFF or PNG plane as (H, W) float32 in [0, 1].

    Unsigned integers are divided by their type's maximum (255, 65535), as CellProfiler does; floats must already
    lie in [0, 1]. `shape` is the (H, W) that the site's other channels have; `name` stands for the file in errors
    where `source` is bytes.

    Raises ImageError for a missing, empty or truncated file, another format, colour, several pages, another
    dtype or shape, NaN, infinity, or floats outside [0, 1].
    """
    path, content = _content(source, name)
    plane = _decode(path, content)
    if plane.ndim != 2:
        raise ImageError(path, f"is no single plane but an array of shape {plane.shape}")
    if shape is not None and plane.shape != tuple(shape):
        raise ImageError(path, f"is {plane.shape[0]} x {plane.shape[1]} pixels, expected {shape[0]} x {shape[1]}")
    if not plane.size:
        raise ImageError(path, "has no pixels")
    return _unit_floats(path, plane)


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
    plane = _decode(path, content)
    if plane.ndim != 2:
        raise ImageError(path, f"is no single plane but an array of shape {plane.shape}")
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


def _decode(path: str, content: bytes) -> NDArray[Any]:
    if content[:4] in _TIFF_MAGIC:
        decode = _decode_tiff
    elif content[:8] == _PNG_MAGIC:
        decode = _decode_png
    else:
        raise ImageError(path, f"is neither TIFF nor PNG (it begins with {content[:8]!r})")
    try:
        return decode(path, content)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever the broken byte led them to
        raise ImageError(path, f"is truncated or damaged ({type(error).__name__}: {error})") from error


def _decode_tiff(path: str, content: bytes) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        if len(file.pages) != 1:
            raise ImageError(path, f"has {len(file.pages)} pages, expected one")
        page = file.pages.first
        if page.samplesperpixel > 1:
            raise ImageError(path, f"is a colour image ({page.samplesperpixel} samples a pixel), expected grey")
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not _is_grey_ramp(page.colormap):
            raise ImageError(path, "is a colour image (palette), expected grey")
        end = max(
            (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0
        )
        if end > len(content):
            raise ImageError(path, f"is truncated: {len(content)} bytes, its data ends at {end}")
        plane = page.asarray()
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    if white_is_zero and plane.dtype.kind == "u":
        return np.iinfo(plane.dtype).max - plane
    return plane


def _is_grey_ramp(colormap: NDArray[np.uint16] | None) -> bool:
    """Old microscope software writes grey as a palette: one rising ramp, the same in all three colours."""
    return colormap is not None and bool(
        (colormap == colormap[:1]).all() and (np.diff(colormap[0].astype(int)) > 0).all()
    )


def _decode_png(path: str, content: bytes) -> NDArray[Any]:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        if image.mode not in ("L", "I;16", "I;16B", "I"):
            raise ImageError(path, f"is a PNG of mode {image.mode}, expected 8- or 16-bit grey")
        plane = np.array(image)
    # Pillow before 11.3 opens 16-bit grey PNG as 32-bit integers.
    return plane.astype(np.uint16) if plane.dtype == np.int32 else plane


def _unit_floats(path: str, plane: NDArray[Any]) -> NDArray[np.float32]:
    if plane.dtype in (np.uint8, np.uint16):
        return plane.astype(np.float32) / np.float32(np.iinfo(plane.dtype).max)
    if plane.dtype.kind != "f":
        raise ImageError(path, f"holds {plane.dtype} values, expected uint8, uint16 or float")
    broken = int((~np.isfinite(plane)).sum())
    if broken:
        raise ImageError(path, f"has {broken} pixels that are NaN or infinite")
    if plane.size and (plane.min() < 0 or plane.max() > 1):
        raise ImageError(path, f"is float from {plane.min():.6g} to {plane.max():.6g}, expected values in [0, 1]")
    return plane.astype(np.float32)
