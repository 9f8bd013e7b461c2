"""Planes of Zarr arrays as images: `<array>#plane=0,1` names one by its index on all axes but the last two.

A plane has no file of its own, so it is given as one: an uncompressed TIFF of its chunks, each time the same bytes.
Arrays of format 2 and 3, with any codec that zarr knows. https://zarr-specs.readthedocs.io
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import ImageError, InputError
from morpho_assets.lake.digests import digest

_PLANE = re.compile(r"^(?P<array>.+)#plane=(?P<index>\d+(?:,\d+)*)(?:&um=(?P<size>[0-9.e+-]+))?$")
_ZARR = r"\.zarr(/|$)"
_METADATA = ("zarr.json", ".zarray")
INSTALL = 'Install "morpho-assets[anndata]", which brings zarr.'


class Body(Protocol):
    """A file that was read: its bytes and its stamp."""

    @property
    def body(self) -> bytes: ...
    @property
    def stamp(self) -> str: ...


Read = Callable[[str], Body]
"""Reads a file by its path. Raises ImageError, which is lasting where there is no such file."""


@dataclass(frozen=True)
class PlaneName:
    """The array, the index of the plane (or its number, where there is one figure), and µm a pixel where known."""

    array: str
    index: tuple[int, ...]
    pixel_size: float | None = None

    @classmethod
    def of(cls, uri: str) -> PlaneName | None:
        """What an address names; None for that of a file."""
        match = _PLANE.match(uri)
        if match is None:
            return None
        size = float(match["size"]) if match["size"] else None
        return cls(match["array"], tuple(map(int, match["index"].split(","))), size)

    def __str__(self) -> str:
        size = f"&um={self.pixel_size:g}" if self.pixel_size else ""
        return f"{self.array}#plane={','.join(map(str, self.index))}{size}"


@dataclass(frozen=True)
class ZarrArray:
    """An array by its metadata: `file` holds them, beside the chunks; `stamp` is that of the file."""

    path: str
    file: str
    body: bytes
    stamp: str

    @classmethod
    def of(cls, path: str, read: Read) -> ZarrArray:
        """Raises ImageError for an array that is not there, and where zarr is not installed."""
        for name in _METADATA:
            try:
                found = read(f"{path}/{name}")
            except ImageError as error:
                if not error.lasting:
                    raise
                continue
            return cls(path, name, found.body, found.stamp)
        raise ImageError(path, "does not exist: there is no Zarr array of format 2 or 3")

    def files(self, plane: PlaneName) -> list[str]:
        """The chunks of a plane, relative to the array. Raises ImageError for a plane that it does not have."""
        array = self._opened({})
        index = self._index(array, plane)
        grid = array.shards or array.chunks
        ranges = [range(-(-side // chunk)) for side, chunk in zip(array.shape[-2:], grid[-2:], strict=True)]
        above = [number // chunk for number, chunk in zip(index, grid[:-2], strict=True)]
        return [str(array.metadata.encode_chunk_key((*above, *place))) for place in itertools.product(*ranges)]

    def plane(self, plane: PlaneName, chunks: Mapping[str, bytes]) -> NDArray[Any]:
        """(H, W) from its chunks; one that is not there holds the array's fill value. Raises ImageError."""
        array = self._opened(chunks)
        try:
            return np.asarray(array[self._index(array, plane)])
        except Exception as error:  # codecs raise whatever the broken byte led them to
            reason = f"has a chunk that is truncated or damaged ({type(error).__name__}: {error}); fetch it again"
            raise ImageError(str(plane), reason) from error

    def _opened(self, chunks: Mapping[str, bytes]) -> Any:
        try:
            import zarr
            from zarr.buffer.cpu import Buffer
            from zarr.storage import MemoryStore
        except ImportError:
            raise ImageError(self.path, f"is a Zarr array, and there is no zarr to read it. {INSTALL}") from None
        if _runs_code(self.body):
            raise ImageError(self.path, "holds pickled objects, and reading those would run what is written in them")
        stored: dict[str, Any] = {
            name: Buffer.from_bytes(body) for name, body in {self.file: self.body, **chunks}.items()
        }
        try:
            array = zarr.open_array(MemoryStore(stored), mode="r")
        except Exception as error:
            raise ImageError(self.path, f"is no Zarr array ({type(error).__name__}: {error})") from error
        if array.ndim < 2:
            raise ImageError(self.path, f"is a Zarr array of shape {array.shape}; an image has two axes or more")
        return array

    @staticmethod
    def _index(array: Any, plane: PlaneName) -> tuple[int, ...]:
        above = array.shape[:-2]
        index = plane.index
        if len(index) == 1 and len(above) != 1:
            planes = int(np.prod(above, dtype=int))
            index = tuple(map(int, np.unravel_index(index[0], above or (1,)))) if index[0] < planes else index
            index = index if above else ()
        if len(index) != len(above) or any(number >= side for number, side in zip(index, above, strict=True)):
            raise ImageError(str(plane), f"is no plane of an array of shape {tuple(array.shape)}; they count from 0")
        return index


def _runs_code(metadata: bytes) -> bool:
    """Whether an array names the codec of Python's pickle, which runs what a file says; no other codec does."""
    try:
        waiting = [json.loads(metadata)]
    except ValueError:
        return False  # zarr says what is wrong with it
    for each in waiting:  # grows while it is walked
        if isinstance(each, Mapping):
            names = [each.get("id"), each.get("name")]
            if any("pickle" in name.casefold() for name in names if isinstance(name, str)):
                return True
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return False


def read_plane(plane: PlaneName, read: Read) -> tuple[bytes, str]:
    """A plane as a TIFF, and a stamp that changes with its chunks. Raises ImageError.

    A plane without any of its chunks is an error, although Zarr calls it one of fill values: nobody can tell it from
    one that was lost.
    """
    import tifffile

    array = ZarrArray.of(plane.array, read)
    names = array.files(plane)
    found: dict[str, Body] = {}
    for name in names:
        try:
            found[name] = read(f"{plane.array}/{name}")
        except ImageError as error:
            if not error.lasting:
                raise
    if not found:
        raise ImageError(str(plane), f"has none of its chunks, such as {names[0]}: it was never written, or is lost")
    pixels = array.plane(plane, {name: each.body for name, each in found.items()})
    file = io.BytesIO()
    each = 1e4 / plane.pixel_size if plane.pixel_size else None  # pixels a centimetre
    tifffile.imwrite(
        file, np.ascontiguousarray(pixels), photometric="minisblack", metadata=None,
        resolution=(each, each) if each else None, resolutionunit="CENTIMETER" if each else None,
    )  # fmt: skip
    return file.getvalue(), _stamp(array, names, {name: each.stamp for name, each in found.items()})


class PlaneStamps:
    """The stamps of planes, from one listing of each Zarr hierarchy; None for a plane of which nothing is there."""

    def __init__(self, read: Read, stamps: Callable[[str], Mapping[str, str]], resolve: Callable[[str], str]) -> None:
        self._read, self._stamps, self._resolve = read, stamps, resolve
        self._listed: dict[str, Mapping[str, str]] = {}
        self._arrays: dict[str, ZarrArray | None] = {}

    def of(self, plane: PlaneName) -> str | None:
        path = self._resolve(plane.array)
        root = path[: match.end()].rstrip("/") if (match := re.search(_ZARR, path)) else path
        if root not in self._listed:
            self._listed[root] = self._stamps(f"{root}/**")
        listed = self._listed[root]
        if path not in self._arrays:
            there = any(f"{path}/{name}" in listed for name in _METADATA)
            self._arrays[path] = ZarrArray.of(path, self._read) if there else None
        array = self._arrays[path]
        if array is None:
            return None
        try:
            names = array.files(plane)
        except ImageError:
            return None
        found = {name: listed[f"{path}/{name}"] for name in names if f"{path}/{name}" in listed}
        return _stamp(array, names, found) if found else None


def named_planes(sites: pl.DataFrame, file: str, numbers: Sequence[int]) -> pl.DataFrame:
    """Images of a table (`uri`, `frame`) that lie in a Zarr array, named by their plane; all else as it is.

    `numbers` are the rows of the file. Raises InputError for one whose plane is not said.
    """
    zarr = sites["uri"].str.contains(_ZARR) & ~sites["uri"].str.contains("#plane=", literal=True)
    unnamed = zarr & sites["frame"].is_null()
    if unnamed.any():
        place = f"row {numbers[int(unnamed.arg_true()[0])]}"
        found = f"a Zarr array, {sites['uri'].filter(unnamed)[0]}, and no plane"
        todo = "Number it from 0, over all axes but the last two: Frame_ in load_data, column frame in a samplesheet."
        raise InputError(file, place, found, "the plane of the array that shows the channel", todo)
    named = pl.col("uri") + "#plane=" + pl.col("frame").cast(pl.String)
    return sites.with_columns(
        uri=pl.when(zarr).then(named).otherwise("uri"),
        frame=pl.when(zarr).then(pl.lit(None, pl.Int32)).otherwise("frame"),
    )


def _stamp(array: ZarrArray, names: Sequence[str], stamps: Mapping[str, str]) -> str:
    return digest([array.stamp, [[name, stamps.get(name)] for name in names]])
