"""What a source of plates is: the protocol, the settings that all kinds share, and the manifest it gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.places import ColumnsConfig
from morpho_assets.gallery.platemap import find_table, join_metadata, platemap_name, read_platemap
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import ENDINGS, listed
from morpho_assets.gallery.treatments import annotate_wells
from morpho_assets.gallery.wells import FORMATS, fits, well_position

_IMAGES = ("images", *(f"images_{how}" for how in ("projected", "unprojected", "maxproj", "raw")))
"""What folders of images are called in the Gallery: as they came off the microscope, or `images_<manipulation>`."""
_BARCODE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True)
class Manifest:
    """A plate as its files describe it.

    `wells` and `sites` fit the lake's tables; `sites` has no rows where a plate was measured elsewhere. `files` were
    read for them; `watched` are the paths and patterns (`*`) among which they were found: what would change them.
    """

    wells: pl.DataFrame
    sites: pl.DataFrame
    files: tuple[str, ...]
    watched: tuple[str, ...]


class PlateSource(Protocol):
    """Where plates come from."""

    @property
    def name(self) -> str: ...

    def store(self) -> Store:
        """How its files are read."""

    def contents(self) -> dict[str, Any]:
        """The settings that what it says of a plate depends on."""

    def plates(self) -> list[str]:
        """Barcodes of the plates it has, sorted."""

    def has(self, plate: str) -> bool:
        """Whether it has a plate."""

    def watched(self, plate: str) -> tuple[str, ...]:
        """Paths and patterns of all files that could say something of a plate, whether they can be read or not."""

    def manifest(self, plate: str) -> Manifest:
        """Everything its files say of a plate, validated. Raises InputError for the first defect."""

    def described(self) -> AboutConfig:
        """What is known of its images beside their pixels."""

    def measurements(self, plate: str) -> tuple[str, ...]:
        """Paths and patterns of the files with its cells or profiles, where it was measured elsewhere; else none."""

    def reading(self) -> Any:
        """The settings that its cells or profiles are read with, where it was measured elsewhere."""

    def cells(self, plate: str, account: Account | None = None) -> Iterator[pl.DataFrame] | None:
        """Its cells, where they were measured elsewhere; what the tables said beside them goes to the account."""

    def profiles(self, plate: str, account: Account | None = None) -> pl.DataFrame | None:
        """Its profiles, where they were published."""


class AboutConfig(BaseModel):
    """What is known of a source's images beside their pixels. It travels with every export, and changes no value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pixel_size: float | None = Field(None, gt=0, description="width of a pixel, µm; default: what the images say")
    objective: str | None = Field(None, description="such as 20x/1.0 water")
    stains: dict[str, str] = Field(default_factory=dict, description="channel: its stain, such as DNA: Hoechst 33342")
    licence: str | None = Field(
        None, description="terms of the images; default: CC0-1.0 of the Gallery's bucket, else none"
    )


class SourceModel(BaseModel):
    """The settings that all kinds of source share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="short name of the source, shown beside its plates")
    channels: tuple[str, ...] | None = Field(None, description="channels to use, in this order; default: all there are")
    replace: dict[str, str] = Field(
        default_factory=dict, description="start of a path in the files: what stands for it"
    )
    endpoint_url: str | None = Field(None, description="address of an object store that is not Amazon's")
    anonymous: bool = Field(True, description="read the object store without credentials, as the Gallery allows")
    retries: int = Field(7, ge=0, description="how often a failed read is tried again, with growing pauses")
    perturbation: tuple[str, ...] | None = Field(
        None, description="columns that name a treatment; default: sample and dose; []: the wells got none"
    )
    negative_controls: tuple[str, ...] = Field(
        ("DMSO",), description="treatments that are negative controls, in any case and percentage; []: there are none"
    )
    wells: Literal[6, 12, 24, 48, 96, 384, 1536] | None = Field(None, description="wells of a plate; default: any")
    about: AboutConfig = Field(AboutConfig(), description="what exports say of the images")

    def described(self) -> AboutConfig:
        return self.about

    def measurements(self, plate: str) -> tuple[str, ...]:
        return ()

    def reading(self) -> Any:
        return None

    def cells(self, plate: str, account: Account | None = None) -> Iterator[pl.DataFrame] | None:
        return None

    def profiles(self, plate: str, account: Account | None = None) -> pl.DataFrame | None:
        return None

    def contents(self) -> dict[str, Any]:
        """All settings but those that only say how files are fetched, which other plates there are, and what exports
        say."""
        return self.model_dump(mode="json", exclude={"retries", "anonymous", "batches", "about"})

    def annotated(self, wells: pl.DataFrame, file: str) -> pl.DataFrame:
        """The wells with their treatments and controls. Raises InputError where these are not understood."""
        return annotate_wells(wells, file, self.perturbation, self.negative_controls)


class TabledSource(SourceModel):
    """The settings of sources whose images a table lists."""

    columns: ColumnsConfig = Field(ColumnsConfig(), description="columns of plate, well and site, if called otherwise")
    rows: str | None = Field(
        None, description="SQL condition on the rows to use; values are text: \"Metadata_PlaneID = '1'\""
    )


class MappedSource(SourceModel):
    """The settings of sources whose images come with or without a platemap."""

    platemaps: str | None = Field(
        None, description="folder with barcode_platemap.csv and platemap/; {batch} stands for the batch"
    )
    metadata: str | None = Field(None, description="tables about the treatments, such as …/external_metadata/*.tsv")

    @field_validator("platemaps", "metadata")
    @classmethod
    def _names_batches_alone(cls, value: str | None) -> str | None:
        return value and check_braces(value, ("batch",))

    def maps_watched(self) -> tuple[str, ...]:
        """Paths and patterns of the files that say what was done to the wells."""
        maps = [f"{self.platemaps}/{file}" for file in ("*", "platemap/*")] if self.platemaps else []
        return tuple(path.format(batch="*") for path in (*maps, self.metadata) if path)

    def treated(
        self, store: Store, plate: str, batch: str, sites: pl.DataFrame, images: str, wells: pl.DataFrame
    ) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """The wells with what was done to them, and the files that say it.

        `wells` is what `images`, the file that lists the images, says of the wells; the platemap stands in its place.
        Raises InputError where the two do not fit, or the treatments are not understood.
        """
        files: list[str] = []
        if self.platemaps is not None:
            wells, *files = read_layout(store, self.platemaps.format(batch=batch), plate)
            check_imaged(sites, images, wells, files[-1])
        place = files[-1] if files else images
        if self.metadata is not None:
            wells, known = join_external(wells, store, self.metadata.format(batch=batch))
            files += [known] if known else []
        return self.annotated(wells, place), tuple(files)


def check_braces(path: str, known: Sequence[str]) -> str:
    """The path, if what stands in its braces is known. Raises ValueError for anything else."""
    for name in re.findall(r"\{([^}]*)\}?", path):
        if name not in known:
            raise ValueError(f"has {{{name}}}; what may stand in braces is {', '.join(known)}")
    return path


def found_plates(store: Store, files: str, plate: str, batch: str) -> list[tuple[str, str, str]]:
    """Plate, path and batch (`batch` where none is named) of what lies where `files` says; `*` is every plate."""
    pattern = store.resolve(files)
    expression = re.escape(pattern).replace(re.escape("*"), "[^/]*")
    for word in ("plate", "batch"):
        mark = re.escape(f"{{{word}}}")
        expression = expression.replace(mark, f"(?P<{word}>[^/]+?)", 1).replace(mark, f"(?P={word})")
    matches = (re.fullmatch(expression, path) for path in store.glob(pattern.format(plate=plate, batch="*")))
    return [(match["plate"], match.string, match.groupdict().get("batch") or batch) for match in matches if match]


def read_file(store: Store, path: str) -> bytes:
    """A file of a source's description. Raises InputError for one that cannot be had."""
    try:
        return store.read(path).body
    except ImageError as error:
        raise InputError(error.path, "", f"a file that {error.reason}", "a readable file", "Restore it.") from None


def read_layout(store: Store, folder: str, plate: str, well: str | None = None) -> tuple[pl.DataFrame, str, str]:
    """The wells of a plate's map, and the two files that say them: barcode_platemap.csv and the map it names.

    Either may be any table (`text.ENDINGS`); the map lies in platemap/ or beside the barcodes. Raises InputError for a
    file that is not there.
    """
    beside = store.glob(f"{folder}/*")
    barcodes = find_table(beside, "barcode_platemap") or f"{folder}/barcode_platemap.csv"
    name = platemap_name(read_file(store, barcodes), barcodes, plate)
    maps = store.glob(f"{folder}/platemap/*")
    platemap = find_table(maps, name) or find_table(beside, name)
    if platemap is None:
        there = listed((path.rsplit("/", 1)[-1] for path in maps), 8) or "no other"
        found = f"a file that does not exist; in its folder there is {there}"
        expected = f"{name} with one of {', '.join(ENDINGS)}"
        todo = f"Restore it, or correct the name in {barcodes}."
        raise InputError(f"{folder}/platemap/{name}.txt", "", found, expected, todo)
    return read_platemap(read_file(store, platemap), platemap, well), barcodes, platemap


def join_external(wells: pl.DataFrame, store: Store, pattern: str) -> tuple[pl.DataFrame, str | None]:
    """The wells with the columns of the one table, of those that match, that knows their treatments; and its name."""
    tables = {path: read_file(store, path) for path in store.glob(pattern) if path.lower().endswith(ENDINGS)}
    return join_metadata(wells, tables)


def place_wells(wells: pl.DataFrame, plate: str, source: str, batch: str) -> pl.DataFrame:
    """The wells with their plate, source and batch. Raises InputError for a barcode that cannot name a folder."""
    if not _BARCODE.match(plate):
        raise InputError("plate", plate, "a barcode that cannot name a folder", "letters, digits, . _ -", "Rename it.")
    place = {"Metadata_Plate": plate, "Metadata_Source": source, "Metadata_Batch": batch}
    return wells.with_columns(pl.lit(value).alias(name) for name, value in place.items())


def check_wells(wells: pl.Series, file: str, number: int | None) -> None:
    """Wells must lie on a plate of `number` wells, or on the largest there is."""
    for name in wells:
        if not fits(well_position(name), number or max(FORMATS)):
            expected = f"wells of a {number or max(FORMATS)}-well plate"
            raise InputError(file, f"well {name}", "a well outside the plate", expected, "Correct the well or `wells`.")


def check_imaged(sites: pl.DataFrame, images: str, wells: pl.DataFrame, platemap: str) -> None:
    """Every well with images must be in the platemap."""
    outside = sorted(set(sites["Metadata_Well"]) - set(wells["Metadata_Well"]))
    if outside:
        expected = f"wells of the platemap {platemap}"
        todo = "Add the wells to the platemap, or check that it is the plate's."
        raise InputError(images, f"well {outside[0]}", "a well that the platemap lacks", expected, todo)


def check_sites(sites: pl.DataFrame, file: str, store: Store) -> None:
    """No two channels of a site may be one plane of one file, and the images must lie where the file says.

    Where the first image is not there, but is in a sibling of its images folder (images_projected for images, or the
    other way round), the two were exchanged. Images that are nowhere are told one by one when they are fetched.
    """
    plane = ["Metadata_Well", "Metadata_Site", "uri", "series", "frame"]
    twice = sites.filter(pl.struct(plane).is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        channels = twice.filter(pl.all_horizontal(pl.col(key).eq_missing(first[key]) for key in plane))["channel"]
        at, of = (frame.select(plane[:2]).n_unique() for frame in (twice, sites))
        found = f"one file for the channels {' and '.join(channels)}, {first['uri']} ({at} of {of} sites)"
        place = f"well {first['Metadata_Well']}, site {first['Metadata_Site']}"
        todo = "Correct it, name the planes of the file (Frame_ columns), or leave one out (`channels`)."
        raise InputError(file, place, found, "a file or a plane for each channel", todo)
    exchanged = sites["uri"].first() and _exchanged(str(sites["uri"][0]), store)
    if exchanged:
        said, there = exchanged
        found = f"images under {said}, where the first is not, while {there} has it"
        todo = f"If these are the images that you mean, raw or projected, set `replace: {{{said}: {there}}}`."
        raise InputError(file, "", found, "images that are there", todo)


def _exchanged(uri: str, store: Store) -> tuple[str, str] | None:
    """The images folder of an address and the sibling of it that has the file; None where the file is in its place."""
    match = re.match(r"(.*?/)(images(?:_[^/]*)?)(/.*)", store.resolve(uri))
    if match is None or uri.startswith("http") or store.exists(uri):
        return None
    before, folder, rest = match.groups()
    for name in _IMAGES:
        if name != folder and store.exists(f"{before}{name}{rest}"):
            said = re.match(r"(.*?/images(?:_[^/]*)?)/", uri)
            return (said[1] if said else before + folder), before + name
    return None
