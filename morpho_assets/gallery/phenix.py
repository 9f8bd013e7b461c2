"""Plates as an Opera Phenix (or Operetta) exports them: an index file beside the images, and a platemap of one's own.

Harmony writes Index.idx.xml (version 5) or Index.xml (6 and 7); the newer ones name channels once for the whole plate.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, Literal
from xml.etree import ElementTree

import polars as pl
from pydantic import Field, field_validator

from morpho_assets.errors import InputError
from morpho_assets.gallery.load_data import KEYS, SITES
from morpho_assets.gallery.source import (
    Manifest,
    MappedSource,
    check_braces,
    check_sites,
    check_wells,
    found_plates,
    place_wells,
    read_file,
)
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import decoding, listed
from morpho_assets.gallery.wells import well_name, well_position

_NUMBERS = ("Row", "Col", "FieldID", "PlaneID", "TimepointID", "ChannelID")
_REQUIRED = ("URL", "Row", "Col", "FieldID", "ChannelID")


class PhenixSource(MappedSource):
    """Plates in the folders of an Opera Phenix or Operetta, each with its index file."""

    kind: Literal["phenix"]
    files: str = Field(
        description="where each plate's index lies, such as images/{plate}__*/Images/Index*.xml; {plate} stands for "
        "its barcode, {batch} for its batch"
    )
    stains: dict[str, str] = Field(
        default_factory=dict,
        description="the microscope's name of a channel: ours, such as HOECHST 33342: DNA; default: its own, no spaces",
    )
    plane: int | None = Field(
        None, ge=1, description="which plane of a stack to use (PlaneID), where there are several"
    )
    timepoint: int | None = Field(None, ge=0, description="which time to use (TimepointID), where there are several")
    batch: str = Field("none", description="batch of the plates where `files` has no {batch}")

    @field_validator("files")
    @classmethod
    def _names_the_plate(cls, value: str) -> str:
        if "{plate}" not in value:
            raise ValueError("needs {plate}, which stands for the barcode")
        return check_braces(value, ("plate", "batch"))

    def store(self) -> Store:
        return Store(self.replace, self.endpoint_url, self.anonymous, self.retries)

    def plates(self) -> list[str]:
        return sorted({plate for plate, _, _ in self._found("*")})

    def has(self, plate: str) -> bool:
        return any(found == plate for found, _, _ in self._found(plate))

    def watched(self, plate: str) -> tuple[str, ...]:
        return (self.files.format(plate=plate, batch="*"), *self.maps_watched())

    def manifest(self, plate: str) -> Manifest:
        file, batch = self._index(plate)
        frame = read_index(read_file(self.store(), file), file)
        sites = index_sites(frame, file, plate, self.stains, self.channels, self.plane, self.timepoint)
        check_sites(sites, file, self.store())
        check_wells(sites["Metadata_Well"], file, self.wells)
        imaged = sites.select("Metadata_Well").unique(maintain_order=True)
        wells, files = self.treated(self.store(), plate, batch, sites, file, imaged)
        return Manifest(place_wells(wells, plate, self.name, batch), sites, (file, *files), self.watched(plate))

    def _index(self, plate: str) -> tuple[str, str]:
        """The plate's index file and its batch. Raises InputError where there is none, or there are several."""
        found = [(file, batch) for name, file, batch in self._found(plate) if name == plate]
        folders = {file.rpartition("/")[0] for file, _ in found}
        if len(folders) != 1:
            seen = f"indices in {listed(sorted(folders), 3)}" if found else "no index"
            raise InputError(self.files, f"plate {plate}", seen, "one", "Check the barcode and `files`.")
        return found[0]

    def _found(self, plate: str) -> list[tuple[str, str, str]]:
        """Plate, index file and batch of one plate, or of all."""
        return found_plates(self.store(), self.files, plate, self.batch)


def read_index(body: bytes, file: str) -> pl.DataFrame:
    """The images of an index, in its order: their URL, numbers (Row … ChannelID), ChannelName and plate.

    Planes and times that an index does not number are 1 and 0. Raises InputError for what is no index, and for an image
    without an address, a place or a channel.
    """
    plate, named, images = "", {}, []
    with decoding(file, "Harmony index", "Export the plate again."):
        for kind, element in _elements(body):
            if kind == "Plate":
                plate = element.get("Name") or element.get("PlateID") or plate
            elif kind == "Entry" and "ChannelName" in element:
                named[element["ChannelID"]] = element["ChannelName"]
            elif kind == "Image" and len(element) > 1:
                images.append(element)
    if not images:
        raise InputError(file, "", "no images", "an index of Harmony with an Images part", "Export the plate again.")
    rows: list[dict[str, Any]] = []
    for image in images:
        missing = next((name for name in _REQUIRED if not image.get(name)), None)
        place = f"image {image.get('id', image.get('URL', len(rows) + 1))}"
        if missing is not None:
            raise InputError(file, place, f"no {missing}", "one for each image", "Export the plate again.")
        row = {"PlaneID": "1", "TimepointID": "0", **image}
        wrong = next((name for name in _NUMBERS if not re.fullmatch("[0-9]{1,9}", row[name])), None)
        if wrong is not None:
            raise InputError(file, place, f"{wrong} {row[wrong]!r}", "a number", "Export the plate again.")
        name = row.get("ChannelName") or named.get(row["ChannelID"]) or f"Channel{row['ChannelID']}"
        rows.append({"URL": row["URL"], **{key: int(row[key]) for key in _NUMBERS}, "ChannelName": name})
    return pl.DataFrame(rows).with_columns(plate=pl.lit(plate))


def index_sites(
    index: pl.DataFrame,
    file: str,
    plate: str,
    stains: dict[str, str] | None = None,
    channels: tuple[str, ...] | None = None,
    plane: int | None = None,
    timepoint: int | None = None,
) -> pl.DataFrame:
    """The images of an index as the lake's `sites` table has them; channels in the order of their numbers.

    Raises InputError for the index of another plate, a channel that it lacks, and a site that has a channel more than
    once, as stacks and time series have.
    """
    barcode = str(index["plate"][0])
    if barcode and not (barcode == plate or barcode.startswith(f"{plate}__") or plate.startswith(f"{barcode}__")):
        raise InputError(
            file, "Plate", f"the plate {barcode}", plate, "Check `files`, or name the folder as the plate."
        )
    ours = _channels(index, file, stains or {})
    wanted = list(channels or ours.values())
    lacking = [channel for channel in wanted if channel not in ours.values()]
    if lacking:
        found = f"the channels {', '.join(ours.values())}"
        raise InputError(file, "ChannelName", found, f"the channel {lacking[0]}", "Correct `channels` or `stains`.")
    for name, column, number in (("plane", "PlaneID", plane), ("timepoint", "TimepointID", timepoint)):
        numbers = index[column].unique().sort().to_list()
        if number is None and len(numbers) > 1:
            found = f"{len(numbers)} of them, {listed(map(str, numbers), 5)}"
            raise InputError(
                file, column, found, "one", f"Choose one with the source's `{name}`, or project the stack."
            )
        if number is not None and number not in numbers:
            raise InputError(file, column, listed(map(str, numbers), 5), str(number), f"Correct the source's `{name}`.")
        index = index.filter(pl.col(column) == number) if number is not None else index
    index = index.with_columns(
        pl.lit(plate).alias(KEYS[0]),
        pl.Series(KEYS[1], [_well(row, col, file) for row, col in index.select("Row", "Col").iter_rows()]),
        pl.col("FieldID").alias(KEYS[2]),
        channel=pl.col("ChannelID").replace_strict(ours, return_dtype=pl.String),
    ).filter(pl.col("channel").is_in(wanted))
    twice = index.filter(index.select(*KEYS, "channel").is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        found = f"channel {first['channel']} twice, {listed(twice['URL'], 2)}"
        place = f"well {first[KEYS[1]]}, field {first[KEYS[2]]}"
        raise InputError(file, place, found, "each once", "Export the plate again.")
    folder = file.rpartition("/")[0] or "."
    absolute = pl.col("URL").str.contains(r"^/|^[A-Za-z][A-Za-z0-9+.-]*:")
    uri = pl.when(absolute).then("URL").otherwise(pl.lit(f"{folder}/") + pl.col("URL"))
    order = pl.col("channel").replace_strict(wanted, range(len(wanted)), return_dtype=pl.Int32)
    none = [pl.lit(None).alias(name) for name in ("series", "frame", "illumination_uri")]
    return (
        index.sort(*KEYS, order)
        .select(*KEYS, "channel", uri.alias("uri"), *none)
        .select(pl.col(name).cast(kind) for name, kind in SITES.items())
    )


def _channels(index: pl.DataFrame, file: str, stains: dict[str, str]) -> dict[int, str]:
    """Our name of each ChannelID: by the microscope's name or number in `stains`, else its name without spaces."""
    names = dict(index.select("ChannelID", "ChannelName").unique().sort("ChannelID").iter_rows())
    unknown = [name for name in stains if name not in {*names.values(), *map(str, names)}]
    if unknown:
        found = f"the channels {', '.join(names.values())}"
        raise InputError(file, "ChannelName", found, f"{unknown[0]}, as in `stains`", "Correct the source's `stains`.")
    ours = {
        number: stains.get(str(number)) or stains.get(name) or re.sub(r"[^A-Za-z0-9]", "", name)
        for number, name in names.items()
    }
    same = [number for number, name in ours.items() if list(ours.values()).count(name) > 1]
    if same:
        todo = f'Name them by number in the source\'s `stains`, such as `"{same[0]}": DNA`.'
        raise InputError(file, "ChannelID", f"the channel {ours[same[0]]} {len(same)} times", "names that differ", todo)
    return ours


def _elements(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Plates, channels and images of an index: the name of each element, and the texts of its parts and attributes.

    Names come without their namespaces, which differ by version. An element is forgotten when it has been given, since
    an index of a plate has 100 MB.
    """
    for _, element in ElementTree.iterparse(io.BytesIO(body)):
        kind = element.tag.rpartition("}")[2]
        if kind in ("Plate", "Entry", "Image"):
            parts = {part.tag.rpartition("}")[2]: (part.text or "").strip() for part in element}
            yield kind, {**element.attrib, **parts}
            element.clear()


def _well(row: int, column: int, file: str) -> str:
    try:
        name = well_name(row, column) if 0 < row <= 32 else ""
        return well_name(*well_position(name))
    except ValueError:
        raise InputError(file, "Row, Col", f"row {row}, column {column}", "a well", "Export the plate again.") from None
