"""Small things that tests of several rooms make: a gallery's text files, a settings file, a lake filled by hand and a
piece of work on it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import polars as pl
import tifffile
import yaml

from morpho_assets.gallery.sources import SamplesheetSource
from morpho_assets.imaging.fields import FIELD_FLAGS
from morpho_assets.imaging.quality import FLAGS
from morpho_assets.lake.digests import digest
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.lake.ledger import Commit, Partition, Read, Verdict, now
from morpho_assets.lake.tables import table as declared
from morpho_assets.lake.work import Work
from morpho_assets.runs import Run
from morpho_assets.settings import Settings
from morpho_assets.stages import PLATE_STAGES, STAGES, Target
from morpho_assets.studies.model import Study
from morpho_assets.workspace import Workspace

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


def plate(key: str, part: str = "") -> Partition:
    return Partition("plate", key, part)


def study(name: str, part: str = "") -> Partition:
    return Partition("study", name, part)


def tables_of(lake: Lake, stage: str, and_its_own: bool = False) -> Snapshot:
    """What a stage reads, as it was committed last, of all plates and studies; for its checks with its own tables."""
    names = {each.stage for each in STAGES[stage].inputs} if stage in STAGES else set()
    wanted = names | ({stage} if and_its_own else set())
    return lake.snapshot(commit for (name, _), commit in lake.ledger.state().commits.items() if name in wanted)


def make_work(lake: Lake, stage: str, partition: Partition, settings: object = None, **fields: Any) -> Work:
    """A piece of work on what was committed last, after the last commit of its own; `fields` are others of Work's."""
    given = {
        "inputs": tables_of(lake, stage),
        "method": digest([stage, vars(settings) if isinstance(settings, SimpleNamespace) else settings]),
        "previous": lake.ledger.latest(stage, partition),
        **fields,
    }
    return Work(stage, partition, lake, settings=settings, **given)


def commit_work(work: Work) -> Commit:
    """Commit what a piece of work has written, as a run does."""
    ledger = work.lake.ledger
    before = max(ledger.numbers(work.stage, work.partition), default=None)
    files = work.lake.sizes(work.named_files)
    keys = {"sites": work.sites, "files": files, "basis": work.basis}
    reads = (
        Read(stage=name, kind=own.kind, key=own.key, part=own.part, number=commit.number,
             tables={table: output.digest for table, output in commit.outputs.items()})
        for (name, own), commit in work.inputs.commits.items()
    )  # fmt: skip
    return ledger.commit(
        Commit(
            stage=work.stage,
            partition=work.partition,
            number=(before or 0) + 1,
            before=before,
            recipe=work.method,
            content=digest([{name: output.digest for name, output in work.outputs.items()}, sorted(files)]),
            outputs=work.outputs,
            files=ledger.write_keys(work.partition, keys) if any(keys.values()) else None,
            reads=tuple(reads),
            sources=work.sources,
            settings=None,
            code_version="1",
            package_version="0",
            sites=work.covered(),
            verdicts=(),
            notes=work.notes,
            writer=ledger.writer,
            who="somebody",
            at=now(),
        )
    )


def study_work(lake: Lake, stage: str, asked: Study, sources: Mapping[str, Any]) -> Work:
    """A stage of a study over plates (plate to source), with its part of the study as settings."""
    partition = study(asked.name)
    settings = STAGES[stage].settings(Target(partition, Settings(), study=asked))
    return make_work(lake, stage, partition, settings, source=sources)


def commit_tables(
    lake: Lake,
    stage: str,
    partition: Partition,
    tables: Mapping[str, pl.DataFrame],
    failed: Mapping[str, str] | None = None,
) -> Commit:
    """Commit tables of a stage by hand; those that are not named stay as its last commit has them."""
    work = make_work(lake, stage, partition)
    work.outputs = dict(work.previous.outputs) if work.previous else {}
    work.failed = dict(failed or {})
    work.sites = dict.fromkeys(work.failed, "")
    for name, frame in tables.items():
        work.outputs[name] = lake.write(stage, partition, name, frame)
    return commit_work(work)


def write_rows(work: Work) -> None:
    """A stage's function that takes no time: a row in each of its tables, made of its settings and of what it reads."""
    wanted = {each.stage: each.tables for each in STAGES[work.stage].inputs}
    read = {
        f"{name} {own}": {table: out.digest for table, out in commit.outputs.items() if table in wanted[name]}
        for (name, own), commit in work.inputs.commits.items()
    }
    made = digest([work.method, read])
    for name in STAGES[work.stage].outputs:
        types = {key: declared(name).dtype(key) for key in declared(name).keys}
        row = {key: 1 if kind.is_integer() else made for key, kind in types.items()}
        work.write(name, pl.DataFrame([{**row, declared(name).partition_column: work.key}]))


def samplesheet(path: Path, **settings: Any) -> SamplesheetSource:
    return SamplesheetSource(**{"kind": "samplesheet", "name": "lab", "path": str(path), **settings})


def changed(workspace: Workspace, **settings: object) -> Workspace:
    """The same workspace under other settings."""
    return replace(workspace, settings=workspace.settings.model_copy(update=settings))


def make_stages(
    workspace: Workspace, key: str = "P1", stages: Sequence[str] = PLATE_STAGES, **how: bool
) -> list[Commit]:
    """The commits of stages of a plate, made in one run."""
    run = Run(workspace, **how)
    return [run.make(name, plate(key)) for name in stages]


def verdict(lake: Lake, stage: str, name: str, key: str = "P1", settings: object = None) -> Verdict:
    """What a check of a stage finds in what was committed last, with default settings."""
    function = next(check.function for check in STAGES[stage].checks if check.name == name)
    return function(tables_of(lake, stage, and_its_own=True), key, settings or Settings())


BRIGHTNESS = {
    "Nuclei_Intensity_MeanIntensity_DNA": 0.9,
    "Cytoplasm_Intensity_MeanIntensity_DNA": 0.2,
    "Nuclei_Intensity_MeanIntensity_Mito": 0.3,
    "Cytoplasm_Intensity_MeanIntensity_Mito": 0.3,
}


def fill_plate(lake: Lake) -> None:
    """Commit plate P1: four imaged wells, the first two of them controls, each with ten cells and one feature."""
    p1 = plate("P1")
    controls = ["negcon", "negcon", None, None]
    wells = pl.DataFrame(
        {"Metadata_Plate": "P1", "Metadata_Well": ["A01", "A02", "A03", "A04"], "Metadata_control_type": controls}
    )
    sites = wells.select("Metadata_Plate", "Metadata_Well", Metadata_Site=1, channel=pl.lit("DNA"))
    commit_tables(lake, "plate_manifest", p1, {"wells": wells, "sites": sites})
    commit_tables(lake, "raw_images", p1, {})
    grey = sites.with_columns(pl.lit(False).alias(flag) for flag in (*FLAGS, *FIELD_FLAGS, "flag_same_picture"))
    commit_tables(lake, "image_quality", p1, {"image_quality": grey.with_columns(ImageQuality_MinIntensity=0.1)})
    commit_tables(lake, "masks", p1, {})
    cells = sites.drop("channel").join(pl.DataFrame({"ObjectNumber": range(1, 11)}), how="cross")
    cells = cells.with_columns(pl.lit(value).alias(name) for name, value in BRIGHTNESS.items())
    commit_tables(lake, "single_cells", p1, {"single_cells": cells})
    counts = {"Metadata_Count_Cells": 10, "Metadata_Count_Sites": 1}
    profiles = wells.with_columns(pl.lit(value).alias(name) for name, value in counts.items())
    profiles = profiles.with_columns(Nuclei_AreaShape_Area=pl.int_range(1, 5).cast(pl.Float64))
    commit_tables(lake, "well_profiles", p1, {"well_profiles": profiles, "normalized_profiles": profiles})


def last(lake: Lake, stage: str, table: str, key: str = "P1") -> pl.DataFrame:
    """A table of a plate's or a study's stage as it was committed last."""
    partition = Partition("plate" if declared(table).partition == "plate" else "study", key)
    return lake.latest([stage], [partition]).read(table, key)
