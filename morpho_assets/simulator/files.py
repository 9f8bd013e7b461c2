"""Writing a synthetic gallery: images, load_data, platemaps and metadata as the Gallery has them, and the truth.

All of it is written into a hidden folder beside its place and renamed at the end. Each site leaves its part of the
truth there as its last act, so that a run that was killed goes on with the sites it had not finished.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tifffile

from morpho_assets.errors import InputError
from morpho_assets.simulator.biology import NAMES, PARAMETERS, TARGETS
from morpho_assets.simulator.design import CHANNEL_NUMBERS, CHANNELS, GalleryDesign, as_design
from morpho_assets.simulator.layout import Well, compounds, conditions, plate_wells, treatments
from morpho_assets.simulator.modalities import assay_table, expression
from morpho_assets.simulator.optics import vignette
from morpho_assets.simulator.screen import write_screen
from morpho_assets.simulator.site import simulate_site

BUCKET = "s3://cellpainting-gallery"
PARTS = ".parts"


def write_gallery(
    root: str | os.PathLike[str],
    size: str | GalleryDesign = "tiny",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> list[str]:
    """Write one synthetic experiment under `<root>/<project>/<source>/` and return its plate barcodes.

    `size` is a name of SIZES or a design; `progress(done, total)` is called after every site; `workers` processes
    share the sites and change no byte. A gallery of the same design and seed that is already there is left alone.
    Raises InputError where the place is taken by another one, or the design does not fit its wells.
    """
    design = as_design(size)
    project = Path(root) / design.project
    home, aside = project / design.source, Path(root) / f".{design.project}-{design.source}-{design.fingerprint(seed)}"
    barcodes = [design.barcode(plate) for plate in range(design.plates)]
    if home.exists():
        _check_same(home, design, seed)
        return barcodes
    wells = {plate: plate_wells(design, seed, plate) for plate in range(design.plates)}
    tasks = [(p, well, site) for p in wells for well in wells[p] for site in range(1, design.sites + 1)]
    for plate in wells:
        (aside / images_folder(design, plate)).mkdir(parents=True, exist_ok=True)
        (aside / truth_folder(design, plate) / "masks").mkdir(parents=True, exist_ok=True)
        (aside / PARTS / design.barcode(plate)).mkdir(parents=True, exist_ok=True)
    for done in _write_sites(aside, design, seed, tasks, workers):
        if progress is not None:
            progress(done, len(tasks))
    for plate, content in wells.items():
        _write_plate(aside, design, seed, plate, content)
    _write_experiment(aside, design, seed, wells)
    shutil.rmtree(aside / PARTS)
    project.mkdir(exist_ok=True)
    aside.rename(home)
    return barcodes


def images_folder(design: GalleryDesign, plate: int) -> str:
    """Where a plate's images are, under the source folder."""
    return f"images/{design.batch(plate)}/images/{design.barcode(plate)}__Measurement1/Images"


def truth_folder(design: GalleryDesign, plate: int) -> str:
    """Where a plate's truth tables are, under the source folder."""
    return f"workspace/truth/{design.batch(plate)}/{design.barcode(plate)}"


def image_name(well: Well, site: int, channel: str) -> str:
    """File name of one image, in the style of the Phenix microscope."""
    return f"r{well.row:02d}c{well.column:02d}f{site:02d}p01-ch{CHANNEL_NUMBERS[channel]}sk1fk1fl1.tiff"


def _check_same(home: Path, design: GalleryDesign, seed: int) -> None:
    """Raise InputError unless what is at `home` was made from this design and seed."""
    card = home / "workspace/truth/design.json"
    found = json.loads(card.read_text())["fingerprint"] if card.exists() else "no design.json"
    if found != design.fingerprint(seed):
        raise InputError(
            home,
            "workspace/truth/design.json",
            found,
            design.fingerprint(seed),
            "Another gallery is here: name another root, project or source, or remove it first.",
        )


def _write_sites(
    aside: Path, design: GalleryDesign, seed: int, tasks: list[tuple[int, Well, int]], workers: int
) -> Iterator[int]:
    """Write every site that is not there yet; after each, yield how many are done."""
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, return_as="generator_unordered")
    sites = parallel(delayed(_write_site)(aside, design, seed, *task) for task in tasks)
    yield from (done for done, _ in enumerate(sites, start=1))


def _write_site(aside: Path, design: GalleryDesign, seed: int, plate: int, well: Well, site: int) -> None:
    """Simulate and write one site; its part of the truth comes last and says that the site is complete."""
    part = aside / PARTS / design.barcode(plate) / f"{well.name}-{site}.npz"
    if part.exists():
        return
    made = simulate_site(design, seed, plate, well, site)
    size: dict[str, Any] = {"resolution": (1e4 / design.pixel_size,) * 2, "resolutionunit": "CENTIMETER"}
    for channel, image in zip(CHANNELS, made.image, strict=True):
        path = aside / images_folder(design, plate) / image_name(well, site, channel)
        tifffile.imwrite(path, image, photometric="minisblack", metadata=None, **size)
    for name, labels in (("nuclei", made.nuclei), ("cells", made.cells)):
        path = aside / truth_folder(design, plate) / "masks" / f"{well.name}-{site}-{name}.tiff"
        tifffile.imwrite(path, labels.astype(np.uint16), compression="zlib", metadata=None)
    faults = {f"_{key}": np.array(value) for key, value in asdict(made.faults).items()}
    half = part.with_name(f".{part.name}")
    np.savez(half, **made.table, **faults)
    half.rename(part)


def _write_plate(aside: Path, design: GalleryDesign, seed: int, plate: int, wells: list[Well]) -> None:
    """The tables of one plate: load_data, illumination functions, and its truth."""
    barcode, batch = design.barcode(plate), design.batch(plate)
    load_data = _load_data(design, plate, wells)
    folder = aside / "workspace/load_data_csv" / batch / barcode
    folder.mkdir(parents=True, exist_ok=True)
    load_data.write_csv(folder / "load_data.csv")
    if design.illumination:
        _write_illumination(aside, design, plate)
        place = f"{BUCKET}/{design.project}/{design.source}/images/{batch}/illum/{barcode}"
        illum = [
            column
            for c in CHANNELS
            for column in (
                pl.lit(f"{barcode}_Illum{c}.npy").alias(f"FileName_Illum{c}"),
                pl.lit(place).alias(f"PathName_Illum{c}"),
            )
        ]
        load_data.with_columns(illum).write_csv(folder / "load_data_with_illum.csv")
    truth = aside / truth_folder(design, plate)
    cells, sites = _site_tables(aside, design, plate, wells)
    cells.write_parquet(truth / "cells.parquet")
    sites.write_parquet(truth / "sites.parquet")
    _well_table(design, seed, plate, wells).write_parquet(truth / "wells.parquet")
    expression(design, seed, plate, wells).write_parquet(truth / "expression.parquet")


def _load_data(design: GalleryDesign, plate: int, wells: list[Well]) -> pl.DataFrame:
    """One row per site, with the columns and paths of the Gallery's load_data.csv."""
    path = f"{BUCKET}/{design.project}/{design.source}/{images_folder(design, plate)}/"
    rows = []
    for well, site in itertools.product(wells, range(1, design.sites + 1)):
        files = {
            key: value
            for c in CHANNELS
            for key, value in ((f"FileName_Orig{c}", image_name(well, site, c)), (f"PathName_Orig{c}", path))
        }
        place = {"Metadata_Site": site, "Metadata_Row": well.row, "Metadata_Col": well.column}
        rows.append(files | {"Metadata_Plate": design.barcode(plate), "Metadata_Well": well.name} | place)
    return pl.DataFrame(rows)


def _write_illumination(aside: Path, design: GalleryDesign, plate: int) -> None:
    """The plate's true illumination functions, scaled to a least value of 1 as CellProfiler's are."""
    folder = aside / f"images/{design.batch(plate)}/illum/{design.barcode(plate)}"
    folder.mkdir(parents=True, exist_ok=True)
    fall = vignette(design.technique, design.pixels).astype(np.float64)
    for channel in CHANNELS:
        np.save(folder / f"{design.barcode(plate)}_Illum{channel}.npy", fall / fall.min())


def _site_tables(
    aside: Path, design: GalleryDesign, plate: int, wells: list[Well]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Truth of every cell and of every site, from the parts that the sites left."""
    cells, sites = [], []
    for well, site in itertools.product(wells, range(1, design.sites + 1)):
        with np.load(aside / PARTS / design.barcode(plate) / f"{well.name}-{site}.npz") as part:
            place = {
                "Metadata_Plate": design.barcode(plate),
                "Metadata_Well": well.name,
                "Metadata_Site": np.int32(site),
            }
            columns = {name: part[name] for name in part.files if not name.startswith("_")}
            faults = {name[1:]: part[name].item() for name in part.files if name.startswith("_")}
        cells.append(pl.DataFrame(columns).select(*(pl.lit(v).alias(k) for k, v in place.items()), pl.all()))
        sites.append(place | {"cells": len(columns["ObjectNumber"])} | faults)
    return pl.concat(cells), pl.DataFrame(sites)


def _well_table(design: GalleryDesign, seed: int, plate: int, wells: list[Well]) -> pl.DataFrame:
    """Truth of every well: treatment, effect vector, and what plate, batch and position did to it."""
    rows = []
    for well in wells:
        treatment, state = well.treatment, conditions(design, seed, plate, well)
        compound = treatment.compound
        effect = treatment.effect
        rows.append(
            {
                "Metadata_Plate": design.barcode(plate),
                "Metadata_Batch": design.batch(plate),
                "Metadata_Well": well.name,
                "Metadata_Row": well.row,
                "Metadata_Col": well.column,
                "treatment": treatment.name,
                "broad_sample": compound.broad_sample if compound else None,
                "dose": treatment.dose,
                "role": treatment.role,
                "mechanism": compound.mechanism if compound else None,
                "active": treatment.active,
                "expected_cells": design.cells_per_site
                * float(np.exp(state.log_count + effect[NAMES.index("viability")])),
                "position_effect": state.position,
                "blur": state.blur,
                **{f"gain_{c}": float(state.gain[i]) for i, c in enumerate(CHANNELS)},
                **{f"offset_{c}": float(state.offset[i]) for i, c in enumerate(CHANNELS)},
                **{f"effect_{name}": float(effect[i]) for i, name in enumerate(NAMES)},
            }
        )
    return pl.DataFrame(rows)


def _write_experiment(aside: Path, design: GalleryDesign, seed: int, wells: dict[int, list[Well]]) -> None:
    """Platemaps and compound metadata as the Gallery has them, and the truth that is not of one plate."""
    maps = aside / "workspace/metadata/platemaps"
    listed: dict[str, list[dict[str, str]]] = {}
    for plate, content in wells.items():
        name = f"synthetic_platemap_{plate + 1}" if design.layout == "randomised" else "synthetic_platemap"
        folder = maps / design.batch(plate) / "platemap"
        folder.mkdir(parents=True, exist_ok=True)
        _platemap(content).write_csv(folder / f"{name}.txt", separator="\t")
        row = {"Assay_Plate_Barcode": design.barcode(plate), "Plate_Map_Name": name}
        listed.setdefault(design.batch(plate), []).append(row)
    for batch, rows in listed.items():
        pl.DataFrame(rows).write_csv(maps / batch / "barcode_platemap.csv")
    external = aside / "workspace/metadata/external_metadata"
    external.mkdir(parents=True, exist_ok=True)
    _compound_metadata(design, seed).write_csv(external / "synthetic_compound_metadata_targets.tsv", separator="\t")

    truth = aside / "workspace/truth"
    _treatment_table(design, seed).write_parquet(truth / "treatments.parquet")
    assay_table(compounds(design, seed), seed).write_parquet(truth / "assays.parquet")
    write_screen(aside / "workspace/screen", seed=seed)
    parameters = [{"parameter": name, **asdict(parameter)} for name, parameter in PARAMETERS.items()]
    pl.DataFrame(parameters).write_parquet(truth / "parameters.parquet")
    card = {"fingerprint": design.fingerprint(seed), "seed": seed, "design": design.model_dump(mode="json")}
    (truth / "design.json").write_text(json.dumps(card, indent=1) + "\n")


def _platemap(wells: list[Well]) -> pl.DataFrame:
    """Columns of the Gallery's platemaps; a DMSO well has no sample and no dose."""
    rows = [
        {
            "well_position": well.name,
            "broad_sample": well.treatment.compound.broad_sample if well.treatment.compound else None,
            "dose_uM": f"{well.treatment.dose:g}" if well.treatment.compound else None,
            "solvent": "DMSO",
        }
        for well in wells
    ]
    return pl.DataFrame(rows, schema_overrides={"broad_sample": pl.String, "dose_uM": pl.String})


def _compound_metadata(design: GalleryDesign, seed: int) -> pl.DataFrame:
    """Columns of JUMP's compound metadata plus `moa`; the row without a sample is DMSO, as there."""
    rows = []
    for number, compound in enumerate(compounds(design, seed)):
        targets = TARGETS[compound.mechanism]
        rows.append(
            {
                "broad_sample": compound.broad_sample,
                "InChIKey": _key(compound.smiles),
                "pert_iname": compound.name,
                "pubchem_cid": 990000000 + number,
                "target": targets[0],
                "target_list": "|".join(targets),
                "pert_type": "trt" if number else "control",
                "control_type": None if number else "poscon_cp",
                "smiles": compound.smiles,
                "moa": compound.mechanism,
            }
        )
    dmso = {"InChIKey": "IAZDPXIOMUYVGZ-UHFFFAOYSA-N", "pert_iname": "DMSO", "pubchem_cid": 679}
    rows.append(dmso | {"pert_type": "control", "control_type": "negcon", "smiles": "CS(=O)C"})
    return pl.DataFrame(rows, infer_schema_length=None)


def _key(smiles: str) -> str:
    """A made-up key in the form of an InChIKey, the same for the same SMILES."""
    digest = hashlib.sha256(smiles.encode()).digest()
    letters = "".join(chr(65 + byte % 26) for byte in digest)
    return f"{letters[:14]}-{letters[14:22]}SA-N"


def _treatment_table(design: GalleryDesign, seed: int) -> pl.DataFrame:
    """Truth of every treatment: compound, dose, effect vector, its length, and whether it counts as active."""
    rows = []
    for treatment in treatments(design, seed):
        compound, effect = treatment.compound, treatment.effect
        rows.append(
            {
                "treatment": treatment.name,
                "broad_sample": compound.broad_sample if compound else None,
                "dose": treatment.dose,
                "role": treatment.role,
                "mechanism": compound.mechanism if compound else None,
                "scaffold": compound.scaffold if compound else None,
                "half_dose": compound.half_dose if compound else None,
                "hill": compound.hill if compound else None,
                "penetrance": compound.penetrance if compound else None,
                "active": treatment.active,
                "effect_length": float(np.linalg.norm(effect)),
                **{f"effect_{name}": float(effect[i]) for i, name in enumerate(NAMES)},
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)
