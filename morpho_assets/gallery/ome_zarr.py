"""Plates in OME-Zarr's HCS layout as a source of images: OME-NGFF 0.4 (Zarr format 2) and 0.5 (format 3).

https://ngff.openmicroscopy.org/0.5/ (doi:10.1038/s41592-021-01326-w). A plate that `morpho export ome-zarr` wrote says
what was done to its wells; another's treatments come from `platemaps`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.load_data import KEYS, SITES
from morpho_assets.gallery.source import (
    Manifest,
    MappedSource,
    check_braces,
    check_sites,
    check_wells,
    found_plates,
    place_wells,
)
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import listed
from morpho_assets.gallery.wells import well_name, well_position
from morpho_assets.gallery.zarr_planes import INSTALL, PlaneName

_GROUPS = ("zarr.json", ".zattrs")
_READERS = 16  # groups that are read at a time: a plate has thousands of small ones
_MICROMETRES = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
_CHOSEN = {"z": "plane", "t": "timepoint"}
"""Axes of which one number is used, and the setting that says which."""


class OmeZarrSource(MappedSource):
    """Plates as OME-Zarr (HCS), each a folder `<plate>.zarr` or the like."""

    kind: Literal["ome-zarr"]
    files: str = Field(
        description="where each plate lies, such as plates/{plate}.ome.zarr; {plate} stands for its barcode, {batch} "
        "for its batch"
    )
    stains: dict[str, str] = Field(
        default_factory=dict,
        description="the label of a channel, or its number from 0: our name, such as HOECHST 33342: DNA; default: the "
        "label",
    )
    plane: int | None = Field(None, ge=0, description="which plane of a stack (axis z) to use, where there are several")
    timepoint: int | None = Field(None, ge=0, description="which time (axis t) to use, where there are several")
    acquisition: int | None = Field(None, ge=0, description="which acquisition of a well, where there are several")
    batch: str = Field("none", description="batch of the plates where `files` has no {batch}")

    @field_validator("files")
    @classmethod
    def _names_the_plate(cls, value: str) -> str:
        if "{plate}" not in value:
            raise ValueError("needs {plate}, which stands for the barcode")
        return check_braces(value, ("plate", "batch")).rstrip("/")

    def store(self) -> Store:
        return Store(self.replace, self.endpoint_url, self.anonymous, self.retries)

    def plates(self) -> list[str]:
        return sorted({plate for plate, _, _ in self._found("*")})

    def has(self, plate: str) -> bool:
        return any(found == plate for found, _, _ in self._found(plate))

    def watched(self, plate: str) -> tuple[str, ...]:
        return (*_watched(self.files.format(plate=plate, batch="*")), *self.maps_watched())

    def manifest(self, plate: str) -> Manifest:
        """The images of the plate's first level. Raises InputError for groups that are no plate, a stack or a series of
        which none is chosen, and channels without a name."""
        if find_spec("zarr") is None:
            raise InputError(self.files, "", "an OME-Zarr plate, and no zarr", "zarr, which reads it", INSTALL)
        root, batch = self._root(plate)
        images = list(read_images(self.store(), root, self.acquisition))
        rows = [row for image in images for row in self._rows(plate, image)]
        sites = pl.DataFrame(rows, schema=SITES)
        check_sites(sites, root, self.store())
        check_wells(sites["Metadata_Well"], root, self.wells)
        wells, files = self.treated(self.store(), plate, batch, sites, root, _told(images))
        watched = (*_watched(root), *self.maps_watched())
        return Manifest(place_wells(wells, plate, self.name, batch), sites, (root, *files), watched)

    def _rows(self, plate: str, image: PlateImage) -> Iterator[dict[str, Any]]:
        names = [self.stains.get(label) or self.stains.get(str(number)) or label
                 for number, label in enumerate(image.channels)]  # fmt: skip
        unnamed = next((number for number, name in enumerate(names) if not name), None)
        if unnamed is not None:
            todo = f"Name it in `stains`: {{'{unnamed}': DNA}}."
            raise InputError(image.path, f"channel {unnamed}", "no label", "a name for each channel", todo)
        for channel in self.channels or names:
            if channel not in names:
                todo = "Correct `channels` or `stains`."
                raise InputError(image.path, "channels", listed(names), channel, todo)
            index = tuple(self._number(image, axis, names.index(channel)) for axis in image.axes[:-2])
            uri = str(PlaneName(f"{image.path}/{image.level}", index or (0,), image.pixel_size))
            key = dict(zip(KEYS, (plate, image.well, image.site), strict=True))
            yield {**key, "channel": channel, "uri": uri, "series": None, "frame": None, "illumination_uri": None}

    def _number(self, image: PlateImage, axis: str, channel: int) -> int:
        """The index of a channel's plane on an axis."""
        if axis == "c":
            return channel
        chosen = getattr(self, _CHOSEN.get(axis, ""), None) if axis in _CHOSEN else None
        size = image.sizes.get(axis, 1)
        if chosen is None and size > 1:
            name = _CHOSEN.get(axis)
            todo = f"Say which in the source's `{name}`, from 0." if name else "Export the plate without this axis."
            raise InputError(image.path, f"axis {axis}", f"{size} of them", "one", todo)
        return chosen or 0

    def _root(self, plate: str) -> tuple[str, str]:
        found = [(path, batch) for name, path, batch in self._found(plate) if name == plate]
        if len(found) != 1:
            seen = f"{len(found)} of them: {listed((path for path, _ in found), 3)}" if found else "none"
            raise InputError(self.files, f"plate {plate}", seen, "one", "Check the barcode and `files`.")
        return found[0]

    def _found(self, plate: str) -> list[tuple[str, str, str]]:
        return found_plates(self.store(), self.files, plate, self.batch)


@dataclass(frozen=True)
class PlateImage:
    """An image of a plate: its group, well and site, the first level and its axes, and what is known of its channels.

    `channels` are the labels, empty where there is none; `sizes` the length of each axis where it had to be looked at.
    """

    path: str
    well: str
    site: int
    level: str
    axes: tuple[str, ...]
    channels: tuple[str, ...]
    pixel_size: float | None
    sizes: Mapping[str, int]
    about_well: Mapping[str, Any]


def read_images(store: Store, root: str, acquisition: int | None = None) -> Iterator[PlateImage]:
    """The images of a plate, in the order of its wells. Raises InputError for what is no plate of OME-Zarr."""
    plate = read_group(store, root).get("plate")
    if not isinstance(plate, dict) or "wells" not in plate:
        todo = "Name the folder of a plate in HCS layout; a single image is listed in a samplesheet."
        raise InputError(root, "", "no plate with wells", "OME-Zarr's metadata of a plate", todo)
    paths = [str(well["path"]) for well in plate["wells"]]
    with ThreadPoolExecutor(_READERS) as threads:
        groups = list(threads.map(lambda path: read_group(store, f"{root}/{path}"), paths))
        wells = [_well(root, path, group, acquisition) for path, group in zip(paths, groups, strict=True)]
        places = [(well, f"{root}/{path}/{name}", number, group.get("morpho", {}))
                  for (well, names), path, group in zip(wells, paths, groups, strict=True)
                  for number, name in enumerate(names)]  # fmt: skip
        images = threads.map(lambda place: read_group(store, place[1]), places)
        sizes: dict[str, int] | None = None
        for (well, path, number, about), group in zip(places, images, strict=True):
            level, axes, pixel_size = _first_level(path, group)
            if sizes is None:
                sizes = _sizes(store, f"{path}/{level}", axes)
            known = group.get("morpho", {})
            site = int(known.get("Metadata_Site", number + 1))
            channels = _labels(group, sizes.get("c", 1))
            yield PlateImage(path, well, site, level, axes, channels, pixel_size, sizes, about)


def read_group(store: Store, path: str) -> dict[str, Any]:
    """The metadata of a group, OME's at the top whatever the version. Raises InputError for none."""
    for name in _GROUPS:
        try:
            content = json.loads(store.read(f"{path}/{name}").body)
        except ImageError as error:
            if not error.lasting:
                raise InputError(error.path, "", f"a file that {error.reason}", "a group", "Run again.") from None
            continue
        except ValueError as error:
            raise InputError(f"{path}/{name}", "", f"no JSON ({error})", "a group's metadata", "Restore it.") from None
        attributes = content.get("attributes", {}) if name == "zarr.json" else content
        return {**attributes, **attributes.get("ome", {})}
    raise InputError(path, "", "no group", f"a Zarr group ({' or '.join(_GROUPS)})", "Restore it, or check `files`.")


def _watched(root: str) -> tuple[str, ...]:
    return tuple(f"{root}/{below}{name}" for below in ("", "*/*/") for name in _GROUPS)


def _well(root: str, path: str, group: Mapping[str, Any], acquisition: int | None) -> tuple[str, list[str]]:
    """The name of a well and the paths of its images."""
    try:
        well = well_name(*well_position(path.replace("/", "")))
    except ValueError as error:
        raise InputError(root, f"well {path}", str(error), "rows A … and columns 1 …", "Name them so.") from None
    images = group.get("well", {}).get("images", [])
    taken = sorted({image["acquisition"] for image in images if "acquisition" in image})
    if acquisition is None and len(taken) > 1:
        todo = "Say which in the source's `acquisition`."
        raise InputError(f"{root}/{path}", "acquisitions", listed(map(str, taken)), "one", todo)
    return well, [str(i["path"]) for i in images if acquisition is None or i.get("acquisition") == acquisition]


def _first_level(path: str, group: Mapping[str, Any]) -> tuple[str, tuple[str, ...], float | None]:
    """The path of the finest level, its axes, and µm a pixel."""
    try:
        pyramid = group["multiscales"][0]
        level = pyramid["datasets"][0]
        given = pyramid.get("axes", list("tczyx"))  # before 0.3 they were always these
        axes = tuple(axis if isinstance(axis, str) else str(axis["name"]) for axis in given)
        units = {axis["name"]: axis.get("unit") for axis in given if isinstance(axis, dict)}
    except (KeyError, IndexError, TypeError):
        found = "no pyramid of levels"
        raise InputError(path, "multiscales", found, "an image of OME-Zarr", "Restore its metadata.") from None
    if axes[-2:] != ("y", "x"):
        raise InputError(path, "axes", listed(axes), "y and x as the last", "Write the plate again.")
    scales = [each["scale"] for each in level.get("coordinateTransformations", []) if each.get("type") == "scale"]
    micrometres = _MICROMETRES.get(units.get("x") or "")
    return str(level["path"]), axes, scales[0][-1] * micrometres if scales and micrometres else None


def _sizes(store: Store, path: str, axes: Sequence[str]) -> dict[str, int]:
    """The length of each axis of an array."""
    for name in ("zarr.json", ".zarray"):
        try:
            shape = json.loads(store.read(f"{path}/{name}").body)["shape"]
            return dict(zip(axes, shape, strict=True))
        except ImageError:
            continue
        except (ValueError, KeyError, TypeError):
            break
    raise InputError(path, "", "no array", f"a Zarr array with the axes {listed(axes)}", "Write the plate again.")


def _labels(group: Mapping[str, Any], number: int) -> tuple[str, ...]:
    """The names of the channels: ours where we wrote them, else the labels that viewers show."""
    ours = group.get("morpho", {}).get("channels")
    if ours:
        return tuple(map(str, ours))
    labels = [str(each.get("label", "")) for each in group.get("omero", {}).get("channels", [])]
    return tuple([*labels, *[""] * number][:number])


def _told(images: Sequence[PlateImage]) -> pl.DataFrame:
    """What the plate says of its wells: only what `morpho export` wrote there. A row a well."""
    wells = {image.well: image.about_well for image in images}
    told = [
        {"Metadata_Well": well, **{name: str(value) for name, value in about.items() if name.startswith("Metadata_")
                                   and name not in _PLACES}}
        for well, about in wells.items()
    ]  # fmt: skip
    return pl.DataFrame(told, infer_schema_length=None)


_PLACES = (*KEYS, "Metadata_Source", "Metadata_Batch", "Metadata_Row", "Metadata_Col")
