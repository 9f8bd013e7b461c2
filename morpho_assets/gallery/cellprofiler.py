"""CellProfiler's output and profiles made from it, read into the columns of this package, a site at a time.

    analysis/<plate>-<well>-<site>/*.csv    read_analysis       one frame per site
    backend/…/<plate>.sqlite                read_sqlite         one frame per image
    single-cell Parquet of CytoTable        scan_cytotable      a LazyFrame
    backend/…/<plate>.csv, profiles/…       read_wells          one frame of wells

`to_parquet` writes the frames of the first two to one file, which `profiles.aggregate` then reads in blocks of columns.
Values that are missing are null.
"""

from __future__ import annotations

import gzip
import io
import re
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.wells import well_position
from morpho_assets.lake.tables import COMPARTMENTS

SITE_KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
PREFIXES = tuple(family.prefix for family in COMPARTMENTS)
MISSING = ["nan", "NaN", "inf", "-inf", "NULL", "None", ""]
_FOLDER = re.compile(r"^(?P<plate>.+)-(?P<well>[A-Za-z]{1,2}\d{1,2})-(?P<site>\d+)$")
_WELL = re.compile(r"^([A-Za-z]{1,2})0*(\d{1,2})$")


class CellProfilerConfig(BaseModel):
    """Where CellProfiler's output says which plate, well and site an image is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plate: str = Field(default="Metadata_Plate", description="column of the Image table with the plate")
    well: str = Field(default="Metadata_Well", description="column of the Image table with the well (A1 or A01)")
    site: str = Field(default="Metadata_Site", description="column of the Image table with the site")
    defaults: dict[str, str | int] = Field(
        default={}, description="values of plate, well, site for output without such a column"
    )
    keep: tuple[str, ...] = Field(default=(), description="further columns of the Image table, kept under their names")


def read_analysis(
    folder: str | Path, config: CellProfilerConfig | None = None, store: Store | None = None
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields (name, cells) of every site folder below `folder` that holds an Image.csv, by name; see `read_site`."""
    for image in (store or Store()).glob(f"{folder}/**/Image.csv"):
        site = image.rsplit("/", 1)[0]
        yield site.rsplit("/", 1)[-1], read_site(site, config, store)


def read_site(folder: str | Path, config: CellProfilerConfig | None = None, store: Store | None = None) -> pl.DataFrame:
    """The cells of one site folder with Image.csv, Cells.csv, Cytoplasm.csv and Nuclei.csv; see `link_objects`.

    Plate, well and site come from Image.csv, else from a folder name <plate>-<well>-<site>, else from
    `config.defaults`. A site without cells gives no rows. InputError naming the file that is missing or unreadable.
    """
    config, folder = config or CellProfilerConfig(), str(folder)
    named = _FOLDER.match(folder.rsplit("/", 1)[-1])
    defaults = {**(named.groupdict() if named else {}), **config.defaults}
    image = _read_csv(f"{folder}/Image.csv", store)
    tables = {name: _read_csv(f"{folder}/{name}.csv", store) for name in ("Cells", "Cytoplasm", "Nuclei")}
    return link_objects(_images(image, config, defaults, f"{folder}/Image.csv"), tables)


def read_sqlite(path: str | Path, config: CellProfilerConfig | None = None) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yields (image key, cells) of every image of an SQLite file, of ExportToDatabase (Per_Cells …) or of the Gallery's
    backend (Cells …), read one image at a time; see `link_objects`. InputError for a file that is no SQLite, and naming
    a table that is missing."""
    import sqlite3
    from contextlib import closing

    config = config or CellProfilerConfig()
    if not Path(path).is_file():
        raise InputError(path, "", "no such file", "an SQLite file", "Check the path.")
    with closing(sqlite3.connect(f"file:{Path(path).resolve()}?mode=ro", uri=True)) as connection:
        try:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        except sqlite3.DatabaseError as error:
            raise InputError(path, "", str(error), "an SQLite file", "Fetch the file again.") from error
        tables = {kind: _table_name(kind, names, path) for kind in ("Image", "Cells", "Cytoplasm", "Nuclei")}
        image = _query(connection, f'SELECT * FROM "{tables["Image"]}"')
        keys = [key for key in ("TableNumber", "ImageNumber") if key in image.columns]
        image = image.rename(lambda name: name.removeprefix("Image_"))
        described = _images(image, config, config.defaults, path)
        for row in described.select(keys).iter_rows():
            where = " AND ".join(f'"{key}" = ?' for key in keys)
            objects = {
                kind: _query(connection, f'SELECT * FROM "{tables[kind]}" WHERE {where}', row)
                for kind in ("Cells", "Cytoplasm", "Nuclei")
            }
            yield "-".join(map(str, row)), link_objects(described, objects)


def scan_cytotable(path: str | Path, config: CellProfilerConfig | None = None) -> pl.LazyFrame:
    """Single-cell Parquet as CytoTable writes it (a file, or a glob), lazily, under this package's names.

    Metadata_Plate … come from Image_Metadata_Plate … or Metadata_Plate …; ObjectNumber from the cell's number.
    InputError for a file that is not there or no Parquet, and when plate or well cannot be found.
    """
    config = config or CellProfilerConfig()
    frame = pl.scan_parquet(path)
    names = _parquet(frame.collect_schema, file=path).names()
    named = []
    for word, target in zip(("plate", "well", "site"), SITE_KEYS, strict=True):
        asked = getattr(config, word)
        source = next((n for n in (asked, f"Image_{asked}", f"Metadata_{asked}") if n in names), None)
        if source is not None:
            named.append(_site_key(pl.col(source), word).alias(target))
        elif word in config.defaults:
            named.append(_site_key(pl.lit(config.defaults[word]), word).alias(target))
        elif word != "site":
            raise InputError(path, word, f"no column {asked} or Image_{asked}", "where the images come from",
                             f"Name the column in `{word}`, or give the value in `defaults`.")  # fmt: skip
    numbers = ("Metadata_Cells_Number_Object_Number", "Cells_Number_Object_Number", "Metadata_ObjectNumber")
    number = next((name for name in numbers if name in names), None)
    if number is not None:
        named.append(pl.col(number).cast(pl.Int64).alias("ObjectNumber"))
    schema = frame.collect_schema().items()
    measured = [name for name, kind in schema if name.startswith(PREFIXES) and (kind.is_numeric() or kind == pl.Null)]
    features = [name for name in measured if not _identifies(name)]
    return frame.select(*named, *(name for name in config.keep if name in names), *features)


def read_wells(file: str | Path, store: Store | None = None) -> pl.DataFrame:
    """Published well profiles (.csv, .csv.gz or .parquet; of profiles/ or the CSV backend), a row per well; A1 is A01.

    A feature that is missing in every well is a number all the same. Raises InputError for a file without
    Metadata_Plate or Metadata_Well, for a well that is none and one that comes twice.
    """
    file = str(file)
    if file.endswith(".parquet"):
        frame = _parquet(pl.read_parquet, io.BytesIO(_body(file, store)), file=file)
    else:
        frame = _read_csv(file, store)
    absent = set(SITE_KEYS[:2]) - set(frame.columns)
    if absent:
        raise InputError(file, "header", f"no {', '.join(sorted(absent))}", "well profiles",
                         "Give files of workspace/profiles, one row per well.")  # fmt: skip
    keys = [_site_key(pl.col(name), word) for name, word in zip(SITE_KEYS, ("plate", "well"), strict=False)]
    blank = [name for name in frame.columns if name.startswith(PREFIXES) and frame[name].null_count() == frame.height]
    frame = frame.with_columns(*keys, pl.col(blank).cast(pl.Float64))
    for row, well in enumerate(frame["Metadata_Well"], start=2):
        try:
            well_position(well or "")
        except ValueError as error:
            raise InputError(file, f"row {row}, column Metadata_Well", str(error), "a well",
                             "Correct the well's name.") from None  # fmt: skip
    repeated = frame.filter(frame.select(SITE_KEYS[:2]).is_duplicated())
    if repeated.height:
        found = f"{repeated.height} rows of wells that come twice"
        raise InputError(file, f"well {repeated['Metadata_Well'][0]}", found, "one row per well",
                         "Give the profiles of wells, not of sites or cells.")  # fmt: skip
    return frame


def to_parquet(sites: Iterable[tuple[str, pl.DataFrame]], path: Path) -> int:
    """Write the cells of all sites to one Parquet file, a row group per site with cells; returns the number of cells.

    Memory is that of one site. Columns are those of the first site with cells; InputError naming a later site that has
    others. Without any cell no file is written; one that is there is replaced when all sites are written, and stays as
    it is when one of them fails.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    writer: Any = None
    cells = 0
    try:
        for frame in same_columns(sites, str(path)):
            arrow = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                writer = pq.ParquetWriter(aside, arrow.schema)
            writer.write_table(arrow)
            cells += frame.height
        if writer is not None:
            writer.close()
            aside.replace(path)
    finally:
        if writer is not None:
            writer.close()
        aside.unlink(missing_ok=True)
    return cells


def same_columns(sites: Iterable[tuple[str, pl.DataFrame]], file: str) -> Iterator[pl.DataFrame]:
    """The frames that have cells, with the columns of the first of them in its order.

    Raises InputError naming the site whose columns are others: it comes from another pipeline.
    """
    columns: list[str] = []
    for name, frame in sites:
        if frame.is_empty():
            continue
        columns = columns or frame.columns
        if set(columns) != set(frame.columns):
            different = sorted(set(columns) ^ set(frame.columns))
            raise InputError(file, f"site {name}", f"other columns than before: {', '.join(different[:5])}",
                             "the same pipeline for all sites", "Read sites of one pipeline together.")  # fmt: skip
        yield frame.select(columns)


def link_objects(images: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per cell that has a nucleus and a cytoplasm: site keys, ObjectNumber, then features by compartment.

    `images` has ImageNumber and the site keys. Objects are joined through the parents that CellProfiler recorded
    (Cells: Parent_Nuclei, Cytoplasm: Parent_Cells), within the image. Numbers of objects, images and parents are not
    features and are left out; every feature is Float64, not-a-number and infinite are null. InputError naming the table
    that lacks the numbers of its objects or parents.
    """
    keys: list[str] = [key for key in ("TableNumber", "ImageNumber") if key in images.columns]
    objects = {kind: _objects(frame, kind, keys) for kind, frame in tables.items()}
    _require_links(objects)
    cells, cytoplasm, nuclei = objects["Cells"], objects["Cytoplasm"], objects["Nuclei"]
    linked = cells.join(
        cytoplasm.drop("Cytoplasm_ObjectNumber"),
        left_on=[*keys, "Cells_ObjectNumber"],
        right_on=[*keys, "Cytoplasm_Parent_Cells"],
        how="inner",
        maintain_order="left",
    )
    parent = "Cells_Parent_Nuclei" if "Cells_Parent_Nuclei" in linked.columns else "Cytoplasm_Parent_Nuclei"
    linked = linked.join(
        nuclei, left_on=[*keys, parent], right_on=[*keys, "Nuclei_ObjectNumber"], how="inner", maintain_order="left"
    ).join(images, on=keys, how="inner", maintain_order="left")
    features = [name for prefix in PREFIXES for name in linked.columns if name.startswith(prefix)]
    described = [name for name in images.columns if name not in keys]
    return linked.select(
        *described,
        pl.col("Cells_ObjectNumber").alias("ObjectNumber"),
        *(name for name in features if not _identifies(name)),
    )


def _require_links(objects: Mapping[str, pl.DataFrame]) -> None:
    """Objects have numbers, and cells and cytoplasms parents."""
    either = [name for name in ("Cells_Parent_Nuclei", "Cytoplasm_Parent_Nuclei")
              if name in objects[name.split("_")[0]].columns]  # fmt: skip
    needed = [*(f"{kind}_ObjectNumber" for kind in objects), "Cytoplasm_Parent_Cells", either[0] if either else
              "Cells_Parent_Nuclei"]  # fmt: skip
    for column in needed:
        kind, name = column.split("_", 1)
        if column not in objects[kind].columns:
            raise InputError(f"table {kind}", "", f"no column {name}", "the number that CellProfiler gives objects",
                             f"Export {name} with the table.")  # fmt: skip


def _identifies(name: str) -> bool:
    """Numbers of objects, parents and images: links, not measurements."""
    rest = name.split("_", 1)[1]
    return rest in ("ObjectNumber", "Number_Object_Number", "ImageNumber") or rest.startswith("Parent_")


def _objects(frame: pl.DataFrame, kind: str, keys: Sequence[str]) -> pl.DataFrame:
    """One compartment with prefixed names; its own number and its parents as integers, all else Float64 or dropped."""
    frame = frame.rename(lambda name: name if name in keys or name.startswith(f"{kind}_") else f"{kind}_{name}")
    number = f"{kind}_ObjectNumber"
    if number not in frame.columns and f"{kind}_Number_Object_Number" in frame.columns:
        frame = frame.rename({f"{kind}_Number_Object_Number": number})
    links = [name for name in frame.columns if name == number or name.startswith(f"{kind}_Parent_")]
    kept = [
        name for name, dtype in frame.schema.items()
        if name not in keys and name not in links and (dtype.is_numeric() or frame[name].null_count() == frame.height)
    ]  # fmt: skip
    values = pl.col(kept).cast(pl.Float64)
    return frame.select(
        pl.col(keys).cast(pl.Int64), pl.col(links).cast(pl.Int64), pl.when(values.is_finite()).then(values)
    )


def _images(
    image: pl.DataFrame, config: CellProfilerConfig, defaults: Mapping[str, Any], path: str | Path
) -> pl.DataFrame:
    """ImageNumber (and TableNumber) with the site keys and `config.keep`."""
    columns = []
    for word, target in zip(("plate", "well", "site"), SITE_KEYS, strict=True):
        asked = getattr(config, word)
        if asked in image.columns and image[asked].null_count() < image.height:
            columns.append(_site_key(pl.col(asked), word).alias(target))
        elif word in defaults:
            columns.append(_site_key(pl.lit(defaults[word]), word).alias(target))
        else:
            raise InputError(path, word, f"no column {asked}", "where the image comes from",
                             f"Name the column in `{word}`, or give the value in `defaults`.")  # fmt: skip
    keys = [pl.col(key).cast(pl.Int64) for key in ("TableNumber", "ImageNumber") if key in image.columns]
    return image.select(*keys, *columns, *(name for name in config.keep if name in image.columns))


def _site_key(value: pl.Expr, word: str) -> pl.Expr:
    """Site as an integer, plate as text, well as A01."""
    if word == "site":
        return value.cast(pl.Int64)
    return (
        value.cast(pl.String).map_elements(_padded, return_dtype=pl.String) if word == "well" else value.cast(pl.String)
    )


def _padded(well: str) -> str:
    match = _WELL.match(well)
    return f"{match[1].upper()}{int(match[2]):02d}" if match else well


def _read_csv(file: str, store: Store | None) -> pl.DataFrame:
    """A CSV table, plain or gzipped, with the types its values have. InputError for one that was cut off."""
    body = _body(file, store)
    try:
        text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        frame = pl.read_csv(io.BytesIO(text), infer_schema_length=None, null_values=MISSING)
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise InputError(file, "", str(error).splitlines()[0], "a CSV table with a header", "Fetch the file "
                         "again.") from error  # fmt: skip
    for row, line in enumerate(text.splitlines(), start=1):
        cells = line.count(b",") + 1
        if line and cells < frame.width and b'"' not in line:
            raise InputError(file, f"row {row}", f"{cells} cells", f"{frame.width}, as in the header",
                             "Fetch the file again: it is cut off.")  # fmt: skip
    return frame


def _parquet(read: Callable[..., Any], *source: Any, file: str | Path) -> Any:
    """What `read` gives of a Parquet file; InputError for a file that is none."""
    try:
        return read(*source)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(file, "", str(error).splitlines()[0], "a Parquet file", "Check the path, or fetch the "
                         "file again.") from error  # fmt: skip


def _body(file: str, store: Store | None) -> bytes:
    try:
        return (store or Store()).read(file).body
    except ImageError as error:
        todo = "Check that the folder is complete."
        raise InputError(error.path, "", f"a file that {error.reason}", "a table", todo) from None


def _table_name(kind: str, names: Sequence[str], path: str | Path) -> str:
    for name in (f"Per_{kind}", kind):
        if name in names:
            return name
    raise InputError(path, f"table {kind}", f"tables {', '.join(names[:8])}", f"Per_{kind} or {kind}",
                     "Give a file of ExportToDatabase or of the Gallery's backend.")  # fmt: skip


def _query(connection: Any, statement: str, values: Sequence[Any] = ()) -> pl.DataFrame:
    cursor = connection.execute(statement, values)
    names = [column[0] for column in cursor.description]
    frame = pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)
    text = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    blank = [name for name in text if frame[name].is_in(MISSING).fill_null(True).all()]
    return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in blank)
