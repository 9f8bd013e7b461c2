"""Which plane of an image file shows a channel, and its pixels as they are stored.

A file that holds one image is read without further words, also where thumbnails or the levels of a pyramid lie beside
it. Of a file that holds several planes (OME-TIFF, ImageJ hyperstack, samples of a pixel), `Plane` names one.
"""

from __future__ import annotations

import io
import logging
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import ImageError

LARGEST = 2**30  # pixels: what claims more is damaged, and must not take the machine's memory
NAME_THE_PLANE = "name each channel's plane: Frame_<Channel> in load_data, column frame in a samplesheet"

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_OTHERS = {
    b"\xff\xd8\xff": "JPEG, which loses intensities",
    b"BM": "BMP",
    b"\x93NUMPY": "a NumPy array",
    b"GIF8": "GIF",
    b"\x89HDF": "HDF5",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip",
    b"<": "XML or HTML, such as an error that was saved as an image",
    b"\xda\xce\xbe\x0a": "Nikon ND2",
    b"ZISRAWFILE": "Zeiss CZI",
    b"\xd0\xcf\x11\xe0": "an OLE file (such as Zeiss ZVI or Olympus OIB)",
}


@dataclass(frozen=True)
class Plane:
    """A plane of a file: `series` is an image within it and `frame` a page or plane of that, both from 0.

    Null is the only one there is; without a series it is the first.
    """

    series: int | None = None
    frame: int | None = None


ONLY = Plane()


def decode(path: str, content: bytes, plane: Plane = ONLY) -> NDArray[Any]:
    """(H, W) pixels of the file's own type. Raises ImageError that says what was found, and what to do."""
    if content[:4] in _TIFF:
        decoder = _decode_tiff
    elif content[:8] == _PNG:
        decoder = _decode_png
    elif not content.strip(b"\0"):
        todo = "it was never written whole: fetch or export it again, or leave its row out"
        raise ImageError(path, f"holds {len(content)} zero bytes and nothing else; {todo}")
    else:
        kind = next((f", but {name}" for magic, name in _OTHERS.items() if content.startswith(magic)), "")
        begins = f"it begins with {content[:8]!r}"
        raise ImageError(path, f"is neither TIFF nor PNG{kind} ({begins}); export grey TIFF of 8 or 16 bits")
    try:
        pixels = decoder(path, content, plane)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever the broken byte led them to
        reason = f"is truncated or damaged ({type(error).__name__}: {error}); fetch or export it again"
        raise ImageError(path, reason) from error
    if pixels.ndim != 2:
        raise ImageError(path, f"is no single plane but an array of shape {pixels.shape}; {NAME_THE_PLANE}")
    return pixels


def plane_count(path: str, content: bytes, series: int | None = None) -> int:
    """How many planes a series of a file holds: 1 of what is no TIFF. ImageError for a file that cannot be opened or
    has no such series."""
    if content[:4] not in _TIFF:
        return 1
    _check_chain(path, content)
    try:
        with _tifffile().TiffFile(io.BytesIO(content)) as file:
            one = file.series[series or 0]
            return int(one.size // (one.keyframe.imagelength * one.keyframe.imagewidth))
    except Exception as error:
        raise ImageError(path, f"is truncated or damaged ({type(error).__name__}: {error}); fetch it again") from error


def pixel_size(content: bytes) -> float | None:
    """Width of a pixel, µm, as the file says it: OME's PhysicalSizeX, ImageJ's unit, or TIFF's pixels a centimetre.

    None where it does not say, where it is no TIFF, and for pixels an inch, which scanners and programs make up.
    """
    if content[:4] not in _TIFF:
        return None
    try:
        _check_chain("", content)
        with _tifffile().TiffFile(io.BytesIO(content)) as file:
            if file.is_ome:
                found = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', file.ome_metadata or "")
                unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', file.ome_metadata or "")
                return float(found[1]) * _UNITS.get(unit[1] if unit else "µm", 0) or None if found else None
            tags = file.pages.first.tags
            across, down = tags["XResolution"].value if "XResolution" in tags else (0, 1)
            unit_name = (file.imagej_metadata or {}).get("unit", "") if file.is_imagej else ""
            centimetres = "ResolutionUnit" in tags and tags["ResolutionUnit"].value == 3
            scale = _UNITS.get(unit_name, 0) or (1e4 if centimetres else 0)
            return down / across * scale if across and scale else None
    except Exception:  # what the file says beside its pixels may be as broken as they are
        return None


_UNITS = {"µm": 1.0, "um": 1.0, "micron": 1.0, "\\u00B5m": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Micrometres of a unit."""


@lru_cache
def _tifffile() -> Any:
    """The library, which tells its log all that is odd about a file: what matters of it is in our errors."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return tifffile


def _decode_tiff(path: str, content: bytes, plane: Plane) -> NDArray[Any]:
    tifffile = _tifffile()
    _check_chain(path, content)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = _only_page(path, file) if plane == ONLY else None
        if page is None:
            page, pixels = _named_plane(path, file, plane, content)
        else:
            _check_page(path, page, content)
            pixels = page.asarray()
            if page.samplesperpixel > 1:
                opacities = sum(sample in (1, 2) for sample in page.extrasamples)
                samples = np.moveaxis(pixels, page.axes.index("S"), 0)
                pixels = _grey(path, samples, page.samplesperpixel - opacities)
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not _is_grey_ramp(page.colormap):
            raise ImageError(path, f"is a colour image (palette), expected grey; {_EXPORT_GREY}")
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    if white_is_zero and pixels.dtype.kind == "u":
        return np.iinfo(pixels.dtype).max - pixels
    return pixels


def _check_chain(path: str, content: bytes) -> None:
    """Raise ImageError for pages that lead back to one another: who follows them never ends."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    count, tag, pointer = (("Q", 20, "Q"), ("H", 12, "I"))[not big]
    place = 8 if big else 4
    seen: set[int] = set()
    try:
        while offset := struct.unpack_from(order + pointer, content, place)[0]:
            if offset in seen:
                raise ImageError(path, f"is damaged: page {len(seen)} leads back to an earlier one; fetch it again")
            seen.add(offset)
            tags = struct.unpack_from(order + count, content, offset)[0]
            place = offset + struct.calcsize(count) + tags * tag
    except struct.error:
        return  # it ends beyond the file, which is told where it is read


_EXPORT_GREY = "export each stain as a grey image"


def _only_page(path: str, file: Any) -> Any:
    """The one page of full size; others may be thumbnails or levels of a pyramid. Raises ImageError for several."""
    pages = list(file.pages)
    sides = [(page.imagelength, page.imagewidth) for page in pages]
    height, width = max(sides, key=lambda side: side[0] * side[1])
    small = [page.is_reduced or (side[0] < height and side[1] < width) for page, side in zip(pages, sides, strict=True)]
    full = [page for page, is_small in zip(pages, small, strict=True) if not is_small]
    if len(full) != 1:
        raise ImageError(path, f"has {len(full)} pages, expected one; project the stack, or {NAME_THE_PLANE}")
    (page,) = full
    described = page.is_imagej or page.is_shaped  # such a stack may have one page that stands for all
    planes = file.series[0].size // page.size if described and len(pages) == 1 else 1
    if planes > 1:
        raise ImageError(path, f"has {planes} planes in one page, expected one; {NAME_THE_PLANE}")
    return page


def _named_plane(path: str, file: Any, plane: Plane, content: bytes) -> tuple[Any, NDArray[Any]]:
    """The page and the pixels of a plane. Raises ImageError for one that the file does not have."""
    number = plane.series or 0
    if number >= len(file.series):
        raise ImageError(path, f"has {len(file.series)} series, not the one numbered {number} (from 0)")
    series = file.series[number]
    page = series.keyframe
    planes = series.size // (page.imagelength * page.imagewidth)
    if plane.frame is None and planes > 1:
        raise ImageError(path, f"has {planes} planes in series {number}, expected one; {NAME_THE_PLANE}")
    frame = plane.frame or 0
    if frame >= planes:
        raise ImageError(path, f"has {planes} planes, not the one numbered {frame} (from 0); correct Frame_ or frame")
    if planes == len(series.pages):
        one = series.pages[frame]
        if one is None:
            raise ImageError(path, f"says that its plane {frame} lies in another file; name that file")
        _check_page(path, one, content)
        return page, one.asarray()
    _check_page(path, page, content, series.size)
    axes = [series.axes.index(axis) for axis in "YX"]
    stack = np.moveaxis(series.asarray(), axes, (-2, -1))
    return page, stack.reshape(-1, *stack.shape[-2:])[frame]


def _check_page(path: str, page: Any, content: bytes, size: int | None = None) -> None:
    """Raise ImageError for a page that claims what cannot be, or whose data the file does not hold."""
    if (size or page.size) > LARGEST:
        raise ImageError(path, f"claims {page.imagelength} x {page.imagewidth} pixels, which cannot be; fetch it again")
    strips = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    end = max((start + count for start, count in strips), default=0)
    if end > len(content):
        reason = f"is truncated: {len(content)} bytes, its data ends at {end}; fetch or export it again"
        raise ImageError(path, reason)
    absent = sum(not count for _, count in strips)
    if absent or not strips:
        raise ImageError(path, f"lacks {absent or 'all'} of its {len(strips)} strips; fetch or export it again")


def _grey(path: str, samples: NDArray[Any], stains: int) -> NDArray[Any]:
    """The one grey plane in the samples (S, H, W) of a pixel: equal colours, and the same opacity everywhere.

    The first `stains` samples are colours or stains, the others opacities.
    """
    if stains not in (1, 3):
        raise ImageError(path, f"has {len(samples)} samples a pixel, expected one; {NAME_THE_PLANE}")
    if (samples[1:stains] != samples[0]).any():
        todo = f"{_EXPORT_GREY}, or {NAME_THE_PLANE}"
        reason = f"is a colour image ({len(samples)} samples a pixel), expected grey; {todo}"
        raise ImageError(path, reason)
    if any(np.ptp(opacity) for opacity in samples[stains:]):
        raise ImageError(path, "has an opacity that differs over the image; export it without transparency")
    return np.ascontiguousarray(samples[0])


def _is_grey_ramp(colormap: NDArray[np.uint16] | None) -> bool:
    """Old microscope software writes grey as a palette: one rising ramp, the same in all three colours."""
    return colormap is not None and bool(
        (colormap == colormap[:1]).all() and (np.diff(colormap[0].astype(int)) > 0).all()
    )


def _decode_png(path: str, content: bytes, plane: Plane) -> NDArray[Any]:
    from PIL import Image

    if plane.series or plane.frame:
        number = plane.frame or plane.series
        raise ImageError(path, f"is a PNG, which has one plane, not one numbered {number} (from 0)")
    depth, colour = content[24:26]
    if depth == 16 and colour in (2, 4, 6):  # pillow would halve its depth
        import imagecodecs

        return _grey(path, np.moveaxis(imagecodecs.png_decode(content), 2, 0), 1 if colour == 4 else 3)
    with Image.open(io.BytesIO(content)) as image:
        if image.mode == "P":
            image = image.convert("RGBA")
        if image.mode == "1":
            raise ImageError(path, "is a PNG of 1 bit, black or white; export grey of 8 or 16 bits")
        if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16", "I;16B", "I"):
            raise ImageError(path, f"is a PNG of mode {image.mode}, expected grey of 8 or 16 bits; {_EXPORT_GREY}")
        pixels = np.array(image)
        if pixels.ndim == 3:
            pixels = _grey(path, np.moveaxis(pixels, 2, 0), 1 if image.mode == "LA" else 3)
    # Pillow before 11.3 opens 16-bit grey PNG as 32-bit integers.
    return pixels.astype(np.uint16) if pixels.dtype == np.int32 else pixels
