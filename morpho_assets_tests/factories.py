"""Small things that tests of several rooms make: a gallery's text files, a settings file, a plate's manifest frames."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import tifffile
import yaml

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")


def load_data_csv(
    rows: list[tuple[str, int]], plate: str = "P1", folder: str = "/images", channels: tuple[str, ...] = ("DNA", "RNA")
) -> str:
    """A load_data of (well, site) rows."""
    head = [f"{kind}_Orig{channel}" for channel in channels for kind in ("FileName", "PathName")]
    lines = [",".join([*head, "Metadata_Plate", "Metadata_Well", "Metadata_Site"])]
    for well, site in rows:
        files = [text for channel in channels for text in (f"{well}-{site}-{channel}.tiff", folder)]
        lines.append(",".join([*files, plate, well, str(site)]))
    return "\n".join(lines) + "\n"


def write_mirror(
    root: Path, wells: dict[str, str], plate: str = "P1", sites: int = 1, channels: tuple[str, ...] = ("DNA", "RNA")
) -> Path:
    """A mirror of a gallery with one plate of tiny noise images; `wells` maps a well to its broad_sample."""
    base = root / "cpg" / "source_1"
    images = base / "images" / "batch_1" / "images" / plate / "Images"
    images.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [(well, site) for well in wells for site in range(1, sites + 1)]
    for well, site in rows:
        for channel in channels:
            tifffile.imwrite(images / f"{well}-{site}-{channel}.tiff", rng.integers(0, 2000, (32, 32), dtype=np.uint16))
    remote = f"s3://cellpainting-gallery/cpg/source_1/images/batch_1/images/{plate}/Images/"
    write(base / f"workspace/load_data_csv/batch_1/{plate}/load_data.csv", load_data_csv(rows, plate, remote, channels))
    maps = base / "workspace/metadata/platemaps/batch_1"
    write(maps / "barcode_platemap.csv", f"Assay_Plate_Barcode,Plate_Map_Name\n{plate},map_1\n")
    lines = [f"{well}\t{sample}\tDMSO" for well, sample in wells.items()]
    write(maps / "platemap/map_1.txt", "\n".join(["well_position\tbroad_sample\tsolvent", *lines]) + "\n")
    metadata = "broad_sample\tpert_iname\tpert_type\tcontrol_type\n\tDMSO\tcontrol\tnegcon\nBRD-1\taspirin\ttrt\t\n"
    write(base / "workspace/metadata/external_metadata/compounds.tsv", metadata)
    return base


def workbook(rows: Sequence[Sequence[str | float | None]]) -> bytes:
    """A workbook (.xlsx) of one sheet: texts stay texts, numbers are numbers, None is no cell."""

    def cell(value: str | float | None, place: str) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        return f'<c r="{place}"><v>{value!r}</v></c>'

    office = "http://schemas.openxmlformats.org"
    sheet = "".join(
        f'<row r="{r}">{"".join(cell(value, f"{chr(65 + c)}{r}") for c, value in enumerate(row))}</row>'
        for r, row in enumerate(rows, start=1)
    )
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    relation = f"{office}/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{office}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{office}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{office}/spreadsheetml/2006/main" xmlns:r="{relation}">'
        '<sheets><sheet name="Layout" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{office}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relation}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{office}/spreadsheetml/2006/main">'
        f"<sheetData>{sheet}</sheetData></worksheet>",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return file.getvalue()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_settings(folder: Path, **changes: object) -> Path:
    """A settings file over a synthetic gallery at `data/gallery`, with the quick measurements, and any other key."""
    source = {
        "name": "demo", "kind": "gallery", "root": "data/gallery", "project": "cpg9999-synthetic", "source": "source_0",
    }  # fmt: skip
    settings = {"sources": [source], "measurement": "core", "compute": {"workers": 1}, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "morpho.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file
