"""Files of every kind, broken at random: each reading must end in a value or in an error of ours, never in another.

A kind is a whole file and what reads it. AnnData is not among them: HDF5 can loop for ever in a broken file.
"""

from __future__ import annotations

import gzip
import io
import random
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import tifffile
from PIL import Image

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.analysis_csv import read_analysis
from morpho_assets.gallery.cytotable import read_cytotable
from morpho_assets.gallery.image_table import CellProfilerConfig
from morpho_assets.gallery.load_data import read_load_data
from morpho_assets.gallery.phenix import index_sites, read_index
from morpho_assets.gallery.platemap import join_metadata, platemap_name, read_platemap
from morpho_assets.gallery.published import read_wells
from morpho_assets.gallery.samplesheet import plate_rows, plate_sites, plate_wells, read_samplesheet
from morpho_assets.gallery.sqlite import read_sqlite
from morpho_assets.gallery.treatments import annotate_wells
from morpho_assets.imaging.images import read_image, read_labels
from morpho_assets.imaging.planes import Plane, pixel_size
from morpho_assets.imaging.plate import gallery_function
from morpho_assets.profiles.recipe import SHIPPED, Recipe
from morpho_assets.settings import Settings
from morpho_assets.studies.model import Study
from morpho_assets.yaml_files import read_yaml
from morpho_assets_tests.factories import load_data_csv, workbook
from morpho_assets_tests.gallery.exports import Tables, export, write_csv, write_sqlite
from morpho_assets_tests.gallery.test_cytotable import PRESETS
from morpho_assets_tests.gallery.test_phenix import PLATE, index
from morpho_assets_tests.gallery.test_published import WELLS

OURS = (InputError, ImageError)


@dataclass(frozen=True)
class Kind:
    """A whole file and what reads it. Of one that is `closed` every cut must be noticed: it says where it ends."""

    content: bytes
    read: Callable[[bytes], object]
    closed: bool = False


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **{"photometric": "minisblack", **options})
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def _yaml(model: type) -> Callable[[bytes], object]:
    def read(body: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file.yaml"
            file.write_bytes(body)
            return read_yaml(model, file)

    return read


def _sheet(body: bytes) -> object:
    mine = plate_rows(read_samplesheet(body, "s.csv"), "s.csv", "P1")
    return plate_sites(mine, "s.csv"), plate_wells(mine, "s.csv")


LOAD_DATA = load_data_csv([("A01", 1), ("A01", 2), ("B02", 1)])
TABLE = pl.read_csv(LOAD_DATA.encode())
MAP = 'well_position\tbroad_sample\tdose_uM\nA01\tDMSO\t\nA02\t5"-deoxy\t0.5\nB03\ttaxol\t10\n'
ROWS = [line.split("\t") for line in MAP.splitlines()]
BARCODES = "Assay_Plate_Barcode,Plate_Map_Name\nP1,map1\nP2,map2\n"
SHEET = "channel,path,plate,well,site,Metadata_Perturbation\nDNA,a.tiff,P1,A01,1,DMSO\nDNA,b.tiff,P1,A02,1,taxol\n"
SETTINGS = "sources:\n  - {name: lab, kind: gallery, root: mirror, project: cpg, source: s}\ncompute: {workers: 2}\n"
STUDY = (
    "name: s\ntitle: t\nplates: [P1]\nspaces: {cellprofiler: {of: cells}}\nevaluators: {r: {evaluator: retrieval}}\n"
)
TABLES = {name: frame for name, frame in export().items() if name in ("Image", "Nuclei", "Cells")}
GREY = (np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).astype(np.uint16)
STACK = np.stack([GREY, GREY[::-1]])


def _load_data(file: str) -> Callable[[bytes], object]:
    return lambda body: read_load_data(body, file, "P1")


def _file(name: str, read: Callable[[Path], object], beside: Tables | None = None) -> Callable[[bytes], object]:
    """Reads a file of this name, in a folder with the tables beside it."""

    def of_body(body: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            write_csv(Path(folder), beside or {})
            (Path(folder) / name).write_bytes(body)
            return read(Path(folder) if beside else Path(folder) / name)

    return of_body


def _cells(reader: Callable[..., Iterator[tuple[object, pl.DataFrame]]]) -> Callable[[Path], object]:
    config = CellProfilerConfig(defaults={"plate": "P1"})
    return lambda place: [frame.rows() for _, frame in reader(place, config)]


def _wells(path: Path) -> object:
    return read_wells(path).rows()


def _written(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def _map(body: bytes) -> object:
    return annotate_wells(read_platemap(body, "map.txt"), "map.txt")


KINDS = {
    "load_data.csv": Kind(LOAD_DATA.encode(), _load_data("load_data.csv")),
    "load_data.csv.gz": Kind(gzip.compress(LOAD_DATA.encode(), mtime=0), _load_data("load_data.csv.gz"), closed=True),
    "load_data.parquet": Kind(parquet(TABLE), _load_data("load_data.parquet"), closed=True),
    "platemap.txt": Kind(MAP.encode(), _map),
    "platemap.txt of Excel": Kind(MAP.encode("utf-16"), _map),
    "platemap.xlsx": Kind(workbook(ROWS), _map, closed=True),
    "barcodes.csv": Kind(BARCODES.encode(), lambda body: platemap_name(body, "b.csv", "P1")),
    "metadata.tsv": Kind(
        b"broad_sample\ttarget\nDMSO\t\ntaxol\tTUBB\n",
        lambda body: join_metadata(read_platemap(MAP.encode(), "map.txt"), {"m.tsv": body}),
    ),
    "samplesheet.csv": Kind(SHEET.encode(), _sheet),
    "Index.idx.xml": Kind(
        index(PLATE, 5).encode(), lambda body: index_sites(read_index(body, "i.xml"), "i.xml", "P1"), closed=True
    ),
    "Index.xml": Kind(
        index(PLATE, 7).encode(), lambda body: index_sites(read_index(body, "i.xml"), "i.xml", "P1"), closed=True
    ),
    "Image.csv": Kind(TABLES["Image"].write_csv().encode(), _file("Image.csv", _cells(read_analysis), TABLES)),
    "Cells.csv": Kind(TABLES["Cells"].write_csv().encode(), _file("Cells.csv", _cells(read_analysis), TABLES)),
    "Cells.csv.gz": Kind(
        gzip.compress(TABLES["Cells"].write_csv().encode(), mtime=0),
        _file("Cells.csv.gz", _cells(read_analysis), {name: TABLES[name] for name in ("Image", "Nuclei")}),
        closed=True,
    ),
    "plate.sqlite": Kind(
        _written(lambda file: write_sqlite(file, TABLES)), _file("P1.sqlite", _cells(read_sqlite)), closed=True
    ),
    "cytotable.parquet": Kind(
        parquet(pl.DataFrame(PRESETS["cellprofiler_sqlite"])), _file("P1.parquet", _cells(read_cytotable)), closed=True
    ),
    "profiles.csv": Kind(WELLS.write_csv().encode(), _file("P1.csv", _wells)),
    "profiles.csv.gz": Kind(
        gzip.compress(WELLS.write_csv().encode(), mtime=0), _file("P1.csv.gz", _wells), closed=True
    ),
    "profiles.parquet": Kind(parquet(WELLS), _file("P1.parquet", _wells), closed=True),
    "morpho.yaml": Kind(SETTINGS.encode(), _yaml(Settings)),
    "recipe.yaml": Kind((SHIPPED / "pycytominer.yaml").read_bytes(), _yaml(Recipe)),
    "study.yaml": Kind(STUDY.encode(), _yaml(Study)),
    "image.tiff": Kind(tiff(GREY), read_image, closed=True),
    "image.tiff, LZW": Kind(tiff(GREY, compression="lzw", predictor=True), read_image, closed=True),
    "image.tiff, deflate, tiles": Kind(tiff(GREY, compression="zlib", tile=(16, 16)), read_image, closed=True),
    "image.tiff, RGB": Kind(tiff(np.stack([GREY] * 3, axis=-1), photometric="rgb"), read_image, closed=True),
    "image.ome.tif": Kind(
        tiff(STACK, ome=True, metadata={"axes": "CYX"}), lambda body: read_image(body, Plane(0, 1)), closed=True
    ),
    "hyperstack.tif": Kind(
        tiff(STACK, imagej=True, metadata={"axes": "CYX"}), lambda body: read_image(body, Plane(None, 1)), closed=True
    ),
    "image.tiff, its pixel size": Kind(tiff(GREY, imagej=True, resolution=(2, 2)), pixel_size),
    "image.png": Kind(png(GREY), read_image, closed=True),
    "image.png, RGB": Kind(png(np.stack([(GREY // 256).astype(np.uint8)] * 3, axis=-1)), read_image, closed=True),
    "labels.tif": Kind(tiff(GREY, compression="zlib"), read_labels, closed=True),
    "illumination.npy": Kind(npy(GREY / 65535 + 1), lambda body: gallery_function("i.npy", body, None), closed=True),
}
"""Every kind of file that is read, with a small whole one."""


_INSERTS = (b'"', b"\n", b",", b"\t", b"\0", b"\xff", b"[", b"<", b"{", b"-", b"9" * 30)


def broken(content: bytes, chance: random.Random) -> bytes:
    """The content with one to three mishaps: cut, bits flipped, bytes replaced, zeroed, doubled, taken out, put in."""
    body = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        if not body:
            break
        start = chance.randrange(len(body))
        end = min(len(body), start + chance.choice([1, 1, 2, 8, 64]))
        mishap = chance.randrange(8)
        if mishap == 0:
            del body[start:]
        elif mishap == 1:
            body[start] ^= 1 << chance.randrange(8)
        elif mishap == 2:
            body[start:end] = chance.randbytes(end - start)
        elif mishap == 3:
            body[start:end] = bytes(end - start)
        elif mishap == 4:
            body[start:start] = body[start:end]
        elif mishap == 5:
            del body[start:end]
        elif mishap == 6:
            body[start:start] = chance.choice(_INSERTS)
        else:
            del body[:start]
    return bytes(body)


def foreign(kind: Kind, body: bytes, seconds: float = 10) -> BaseException | None:
    """What reading raises that is not ours, or None; a warning counts as an exception, and so does never ending."""
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kind.read(body)
    except OURS:
        return None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


class Endless(BaseException):
    """Reading took too long; no reader catches it as the error of a decoder."""


def _stop(number: int, frame: object) -> None:
    raise Endless


def silent_cuts(kind: Kind, cuts: int = 300) -> Iterator[int]:
    """The lengths to which a file that says where it ends can be cut and be read all the same as something else."""
    whole = repr(kind.read(kind.content))
    for length in range(0, len(kind.content), 1 + len(kind.content) // cuts):
        try:
            if repr(kind.read(kind.content[:length])) != whole:
                yield length
        except OURS:
            continue
