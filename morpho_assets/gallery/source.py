"""What a source of plates is: the protocol, the settings that all kinds share, and the manifest it gives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.account import Account
from morpho_assets.gallery.platemap import join_metadata, platemap_name, read_platemap
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.wells import FORMATS, fits, well_position

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

    def measurements(self, plate: str) -> tuple[str, ...]:
        """Paths and patterns of the files with its cells or profiles, where it was measured elsewhere; else none."""

    def reading(self) -> Any:
        """The settings that its cells or profiles are read with, where it was measured elsewhere."""

    def cells(self, plate: str, account: Account | None = None) -> Iterator[pl.DataFrame] | None:
        """Its cells, where they were measured elsewhere; what the tables said beside them goes to the account."""

    def profiles(self, plate: str, account: Account | None = None) -> pl.DataFrame | None:
        """Its profiles, where they were published."""


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
    retries: int = Field(4, ge=0, description="how often a failed read is tried again, with growing pauses")
    perturbation: tuple[str, ...] = Field((), description="columns that name a treatment; default: sample and dose")
    negative_controls: tuple[str, ...] = Field(("DMSO",), description="treatments that are negative controls")
    wells: Literal[6, 12, 24, 48, 96, 384, 1536] | None = Field(None, description="wells of a plate; default: any")

    def measurements(self, plate: str) -> tuple[str, ...]:
        return ()

    def reading(self) -> Any:
        return None

    def cells(self, plate: str, account: Account | None = None) -> Iterator[pl.DataFrame] | None:
        return None

    def profiles(self, plate: str, account: Account | None = None) -> pl.DataFrame | None:
        return None

    def contents(self) -> dict[str, Any]:
        """All settings but those that only say how files are fetched and which other plates there are."""
        return self.model_dump(mode="json", exclude={"retries", "anonymous", "batches"})


def read_file(store: Store, path: str) -> bytes:
    """A file of a source's description. Raises InputError for one that cannot be had."""
    try:
        return store.read(path).body
    except ImageError as error:
        raise InputError(error.path, "", f"a file that {error.reason}", "a readable file", "Restore it.") from None


def read_layout(store: Store, folder: str, plate: str) -> tuple[pl.DataFrame, str, str]:
    """The wells of a plate's map, and the two files that say them: barcode_platemap.csv and the map it names."""
    barcodes = f"{folder}/barcode_platemap.csv"
    platemap = f"{folder}/platemap/{platemap_name(read_file(store, barcodes), barcodes, plate)}.txt"
    return read_platemap(read_file(store, platemap), platemap), barcodes, platemap


def join_external(wells: pl.DataFrame, store: Store, pattern: str) -> tuple[pl.DataFrame, str | None]:
    """The wells with the columns of the one table, of those that match, that knows their treatments; and its name."""
    tables = {path: read_file(store, path) for path in store.glob(pattern) if path.endswith((".tsv", ".csv", ".txt"))}
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
