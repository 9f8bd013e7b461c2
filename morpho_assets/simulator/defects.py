"""Bad plates on request: each defect is done to a written gallery, to see what becomes of it.

A defect says what it should lead to: `error` (an InputError before any work), `site_failure` (a row in
`site_failures`, the plate goes on) or `flag` (the plate goes on, and something says that it looks wrong).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import tifffile
from scipy import ndimage

from morpho_assets.errors import InputError
from morpho_assets.simulator.design import CHANNEL_NUMBERS, CHANNELS

Outcome = Literal["error", "site_failure", "flag"]


@dataclass(frozen=True)
class Damage:
    """What a defect touched: the plate, the wells (all that is wrong may be in other files), and the file or folder."""

    plate: str
    wells: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Defect:
    """One named defect; `apply` changes one plate's files in place.

    `stage` is the asset that notices it and `signs` what is seen there: parts of an error's message, of the reason in
    `site_failures` or of a warning of the asset's checks, or flags of `image_quality`. `do` says what helps.
    """

    name: str
    outcome: Outcome
    about: str
    stage: str
    signs: tuple[str, ...]
    do: str
    apply: Callable[[Plate, np.random.Generator], Damage]


@dataclass(frozen=True)
class Plate:
    """The files of one plate below its source folder."""

    source: Path
    batch: str
    barcode: str

    @property
    def load_data(self) -> list[Path]:
        """load_data.csv, and the one with illumination functions where there is one."""
        return sorted((self.source / "workspace/load_data_csv" / self.batch / self.barcode).glob("load_data*.csv"))

    @property
    def images(self) -> Path:
        """The folder of its images."""
        return next((self.source / "images" / self.batch / "images").glob(f"{self.barcode}__*")) / "Images"

    @property
    def illumination(self) -> Path:
        """The folder of its illumination functions."""
        return self.source / "images" / self.batch / "illum" / self.barcode

    @property
    def barcodes(self) -> Path:
        """The batch's barcode_platemap.csv."""
        return self.source / "workspace/metadata/platemaps" / self.batch / "barcode_platemap.csv"

    @property
    def platemap(self) -> Path:
        """Its platemap."""
        names = dict(_read(self.barcodes).iter_rows())
        return self.barcodes.parent / "platemap" / f"{names[self.barcode]}.txt"

    @property
    def metadata(self) -> Path:
        """The compound metadata of the project."""
        return next((self.source / "workspace/metadata/external_metadata").glob("*.tsv"))

    def files(self, channel: str) -> list[Path]:
        """Its images of one channel, by name."""
        return sorted(self.images.glob(f"*-ch{CHANNEL_NUMBERS[channel]}sk1fk1fl1.tiff"))

    def damage(self, path: Path, *wells: str) -> Damage:
        """A record of what was done to this plate."""
        return Damage(self.barcode, wells, path)


DEFECTS: dict[str, Defect] = {}


def apply_defect(root: str | Path, name: str, seed: int = 0) -> Damage:
    """Do one defect to the first plate of the gallery under `root`; `seed` chooses the image or the row.

    The truth tables stay as they were. Raises InputError for an unknown name or a folder without a gallery.
    """
    if name not in DEFECTS:
        raise InputError(
            "synthetic gallery", "defect", repr(name), f"one of {', '.join(DEFECTS)}", "Name one of these."
        )
    folders = sorted(Path(root).glob("[!.]*/*/workspace/load_data_csv/*/*"))
    if not folders:
        raise InputError(root, "", "no load_data_csv folder", "a gallery", "Write one with write_gallery first.")
    first = folders[0]
    plate = Plate(first.parents[3], first.parent.name, first.name)
    return DEFECTS[name].apply(plate, np.random.default_rng(seed))


def defects_table() -> str:
    """A Markdown table of all defects: where each is noticed, what is seen, what to do (docs/reliability.md)."""
    kinds = {"error": "stops", "site_failure": "row in `site_failures`"}
    lines = ["| defect | noticed by | what you see | what to do |", "|---|---|---|---|"]
    for each in DEFECTS.values():
        flags = [f"`{sign}`" for sign in each.signs if sign.startswith("flag_")]
        texts = [f"“{sign}”" for sign in each.signs if not sign.startswith("flag_")]
        said = [f"{kinds.get(each.outcome, 'warning')}: {' … '.join(texts)}"] if texts else []
        seen = "; ".join([*flags, *said])
        lines.append(f"| `{each.name}`: {each.about} | `{each.stage}` | {seen} | {each.do} |")
    return "\n".join(lines) + "\n"


def defect(
    outcome: Outcome, stage: str, *signs: str, do: str
) -> Callable[[Callable[[Plate, np.random.Generator], Damage]], Callable]:
    """Enter a function in DEFECTS under its own name; the first line of its docstring describes the defect.

    The signs are those on the first plate of a gallery of size `tiny`.
    """

    def enter(function: Callable[[Plate, np.random.Generator], Damage]) -> Callable:
        about = (function.__doc__ or "").strip().splitlines()[0]
        DEFECTS[function.__name__] = Defect(function.__name__, outcome, about, stage, signs, do, function)
        return function

    return enter


def _read(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, separator="," if path.suffix == ".csv" else "\t", infer_schema=False)


def _edit(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Rewrite a table; every cell is text, so that what is not changed stays as it was."""
    change(_read(path)).write_csv(path, separator="," if path.suffix == ".csv" else "\t")


def _edit_load_data(plate: Plate, change: Callable[[pl.DataFrame], pl.DataFrame], *wells: str) -> Damage:
    for path in plate.load_data:
        _edit(path, change)
    return plate.damage(plate.load_data[0], *wells)


def _pick(plate: Plate, rng: np.random.Generator, channel: str | None = None) -> Path:
    """One of the plate's images; of any channel unless one is named."""
    files = plate.files(channel or CHANNELS[int(rng.integers(len(CHANNELS)))])
    return files[int(rng.integers(len(files)))]


def _well(image: Path) -> str:
    return f"{chr(64 + int(image.name[1:3]))}{image.name[4:6]}"


def _change_image(
    plate: Plate, path: Path, change: Callable[[np.ndarray], np.ndarray], photometric: str = "minisblack"
) -> Damage:
    tifffile.imwrite(path, change(tifffile.imread(path)), photometric=photometric, metadata=None)
    return plate.damage(path, _well(path))


# Files of images


@defect("site_failure", "image_quality", "is truncated", do="Fetch or export the image again.")
def truncated_tiff(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image's file ends in the middle, as after a broken download."""
    path = _pick(plate, rng)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return plate.damage(path, _well(path))


@defect("site_failure", "image_quality", "is empty (zero bytes)", do="Fetch or export the image again.")
def empty_image_file(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image's file has zero bytes."""
    path = _pick(plate, rng)
    path.write_bytes(b"")
    return plate.damage(path, _well(path))


@defect("site_failure", "image_quality", "zero bytes and nothing else", do="Fetch or export the image again.")
def zeroed_image_file(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image's file has its full size, and every byte is zero."""
    path = _pick(plate, rng)
    path.write_bytes(bytes(path.stat().st_size))
    return plate.damage(path, _well(path))


@defect("site_failure", "raw_images", "does not exist", do="Restore the file, or take its row out of load_data.")
def missing_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image that load_data names is not there."""
    path = _pick(plate, rng)
    path.unlink()
    return plate.damage(path, _well(path))


@defect("site_failure", "image_quality", "is neither TIFF nor PNG", do="Fetch or export the image again.")
def error_page_as_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """An object store's error message was saved under an image's name."""
    path = _pick(plate, rng)
    path.write_text(
        '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
    )
    return plate.damage(path, _well(path))


@defect("site_failure", "image_quality", "is neither TIFF nor PNG", do="Fetch or export the image again.")
def garbled_header(plate: Plate, rng: np.random.Generator) -> Damage:
    """The first sixteen bytes of an image are noise."""
    path = _pick(plate, rng)
    path.write_bytes(rng.bytes(16) + path.read_bytes()[16:])
    return plate.damage(path, _well(path))


@defect("site_failure", "image_quality", "is 80 x 80 pixels, expected 160 x 160", do="Export all channels at one size.")
def wrong_shape(plate: Plate, rng: np.random.Generator) -> Damage:
    """One channel of a site is half as high and wide as the others."""
    return _change_image(plate, _pick(plate, rng), lambda image: image[::2, ::2])


@defect("site_failure", "image_quality", "expected values in [0, 1]", do="Use the raw image, or scale it to [0, 1].")
def float_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image holds floats of unknown scale, as a processed image would."""
    return _change_image(plate, _pick(plate, rng), lambda image: image.astype(np.float32))


@defect("site_failure", "image_quality", "pixels that are NaN or infinite", do="Use the raw image.")
def nan_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image holds floats in [0, 1] with a patch of NaN."""

    def spoil(image: np.ndarray) -> np.ndarray:
        floats = image.astype(np.float32) / 65535
        floats[:8, :8] = np.nan
        return floats

    return _change_image(plate, _pick(plate, rng), spoil)


@defect("site_failure", "image_quality", "is a colour image", do="Export each stain as a grey image.")
def colour_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image is a colour picture."""

    def colour(image: np.ndarray) -> np.ndarray:
        grey = (image >> 8).astype(np.uint8)
        return np.stack([grey, grey, 255 - grey], axis=-1)

    return _change_image(plate, _pick(plate, rng), colour, "rgb")


@defect(
    "site_failure",
    "image_quality",
    "has 3 pages, expected one",
    do="Project the stack, or name one plane in load_data.",
)
def stack_as_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """An image is a stack of three planes."""
    return _change_image(plate, _pick(plate, rng), lambda image: np.stack([image] * 3))


@defect(
    "error",
    "raw_images",
    "18 of 18 sites failed",
    "does not exist",
    do="Restore the folder, or correct the paths in load_data.",
)
def missing_image_folder(plate: Plate, rng: np.random.Generator) -> Damage:
    """The whole image folder of the plate is not there."""
    shutil.rmtree(plate.images)
    return plate.damage(plate.images.parent)


@defect(
    "error",
    "plate_manifest",
    "where the first is not",
    "images_projected has it",
    do="Set the `replace` that the message shows, or correct load_data.",
)
def projected_images(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data says images where the folder is called images_projected: raw and projected were exchanged."""
    folder = plate.source / "images"
    folder.rename(folder.with_name("images_projected"))
    return plate.damage(folder)


# What is in the images


@defect("flag", "image_quality", "flag_empty", do="Look at the image; leave the site out if the stain matters.")
def black_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """The shutter stayed closed: one channel of a site is zero throughout."""
    return _change_image(plate, _pick(plate, rng), np.zeros_like)


@defect("flag", "image_quality", "flag_saturated", do="Lower the exposure; leave the site out.")
def saturated_image(plate: Plate, rng: np.random.Generator) -> Damage:
    """One channel of a site is over-exposed thirtyfold."""
    return _change_image(
        plate, _pick(plate, rng), lambda image: np.minimum(image.astype(np.uint32) * 30, 65535).astype(np.uint16)
    )


@defect("flag", "image_quality", "flag_out_of_focus", do="Look at the images; leave the site out.")
def out_of_focus(plate: Plate, rng: np.random.Generator) -> Damage:
    """All channels of a site are out of focus."""
    first = _pick(plate, rng, "DNA")
    for channel in CHANNELS:
        path = first.with_name(first.name.replace(f"ch{CHANNEL_NUMBERS['DNA']}", f"ch{CHANNEL_NUMBERS[channel]}"))
        _change_image(plate, path, lambda image: ndimage.gaussian_filter(image, image.shape[0] / 50))
    return plate.damage(first, _well(first))


@defect("flag", "image_quality", "flag_empty", do="Seeding or toxicity? The well has a row without measurements.")
def empty_well(plate: Plate, rng: np.random.Generator) -> Damage:
    """A well without cells: every pixel is background and noise."""
    well = _well(_pick(plate, rng, "DNA"))
    start = f"r{ord(well[0]) - 64:02d}c{well[1:]}"
    for path in sorted(plate.images.glob(f"{start}*.tiff")):
        _change_image(
            plate, path, lambda image: rng.normal(np.percentile(image, 5), 15, image.shape).clip(0).astype(np.uint16)
        )
    return plate.damage(plate.images, well)


@defect("flag", "image_quality", "flag_debris", do="Look at the image; leave the site out.")
def fibre(plate: Plate, rng: np.random.Generator) -> Damage:
    """A bright fibre lies across one channel of a site."""

    def draw(image: np.ndarray) -> np.ndarray:
        rows, columns = np.indices(image.shape)
        height = image.shape[0]
        path = height / 2 + height / 5 * np.sin(columns / height * 4)
        light = rng.normal(55000, 1500, image.shape)  # as noisy as bright light is: a flat fibre would be a clipped one
        return np.where(np.abs(rows - path) < height / 20, light, image).astype(np.uint16)

    return _change_image(plate, _pick(plate, rng), draw)


@defect("flag", "image_quality", "flag_other_field", do="Correct the file's name in load_data.")
def foreign_channel(plate: Plate, rng: np.random.Generator) -> Damage:
    """The DNA image of a site is that of another well."""
    files = plate.files("DNA")
    here, there = (int(index) for index in rng.choice(len(files), 2, replace=False))
    shutil.copyfile(files[there], files[here])
    return plate.damage(files[here], _well(files[here]))


@defect(
    "flag",
    "image_quality",
    "flag_same_picture",
    "DNA and RNA are one picture at 1 of",
    do="Correct load_data, or export the channel again.",
)
def copied_channel(plate: Plate, rng: np.random.Generator) -> Damage:
    """The RNA image of a site is a copy of its DNA image."""
    dna, rna = (plate.files(channel) for channel in ("DNA", "RNA"))
    index = int(rng.integers(len(dna)))
    shutil.copyfile(dna[index], rna[index])
    return plate.damage(rna[index], _well(rna[index]))


@defect("flag", "single_cells", "may be exchanged with Mito", do="Correct load_data and run the plate again.")
def swapped_channels(plate: Plate, rng: np.random.Generator) -> Damage:
    """The DNA and Mito images of the whole plate were exchanged."""
    for dna, mito in zip(plate.files("DNA"), plate.files("Mito"), strict=True):
        aside = dna.with_suffix(".aside")
        dna.rename(aside)
        mito.rename(dna)
        aside.rename(mito)
    return plate.damage(plate.images)


@defect(
    "flag",
    "image_quality",
    "flag_repeated",
    "A01-1, A02-1, A03-1 show the same field",
    do="Image the wells again; no more than the first can be right.",
)
def stuck_stage(plate: Plate, rng: np.random.Generator) -> Damage:
    """The stage did not move: three wells in a row show the image of the first."""
    wells = set()
    for channel in CHANNELS:
        first, *others = plate.files(channel)[:3]
        for path in others:
            shutil.copyfile(first, path)
            wells.add(_well(path))
    return plate.damage(plate.images, *sorted(wells))


@defect(
    "flag",
    "image_quality",
    "flag_empty",
    "AGP: 18 of 18 images empty",
    do="Stain again, or leave the channel out (`channels` of the source).",
)
def lost_stain(plate: Plate, rng: np.random.Generator) -> Damage:
    """The AGP stain was forgotten on the whole plate: only background is left."""
    for path in plate.files("AGP"):
        _change_image(
            plate, path, lambda image: rng.normal(np.percentile(image, 5), 16, image.shape).clip(0).astype(np.uint16)
        )
    return plate.damage(plate.images)


@defect(
    "flag",
    "image_quality",
    "flag_shifted",
    "ER: 18 of 18 images (by +16 pixels in X, +0 in Y) shifted",
    do="Register the channel by the displacement shown.",
)
def shifted_channel(plate: Plate, rng: np.random.Generator) -> Damage:
    """One stain of the plate is shifted against the others by a tenth of the field."""
    for path in plate.files("ER"):
        _change_image(plate, path, lambda image: np.roll(image, image.shape[0] // 10, axis=1))
    return plate.damage(plate.images)


# load_data


@defect("error", "plate_manifest", "more than once", "expected each site once", do="Keep one of the rows.")
def duplicated_rows(plate: Plate, rng: np.random.Generator) -> Damage:
    """Two rows of load_data are there twice."""
    return _edit_load_data(plate, lambda frame: pl.concat([frame, frame.head(2)]))


@defect("error", "plate_manifest", "expected also PathName_OrigRNA", do="Add or rename the column.")
def missing_column(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data lacks the paths of one channel."""
    return _edit_load_data(plate, lambda frame: frame.drop("PathName_OrigRNA"))


@defect("error", "plate_manifest", "no image columns", do="Add them.")
def no_image_columns(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data has no image columns at all, only metadata."""
    return _edit_load_data(plate, lambda frame: frame.select(pl.col("^Metadata_.*$")))


@defect("error", "plate_manifest", "row 2, column Metadata_Well: found 'Z99'", do="Correct the well's name.")
def impossible_well(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data names a well that no plate has."""
    return _edit_load_data(plate, lambda frame: _first_cell(frame, "Metadata_Well", "Z99"))


@defect("error", "plate_manifest", "row 2, column Metadata_Site: found 'one'", do="Correct the site.")
def site_without_number(plate: Plate, rng: np.random.Generator) -> Damage:
    """A site in load_data is a word."""
    return _edit_load_data(plate, lambda frame: _first_cell(frame, "Metadata_Site", "one"))


@defect(
    "error", "plate_manifest", "row 2, column FileName_OrigDNA: found an empty cell", do="Fill it in or drop the row."
)
def empty_cell(plate: Plate, rng: np.random.Generator) -> Damage:
    """A file name in load_data is missing."""
    return _edit_load_data(plate, lambda frame: _first_cell(frame, "FileName_OrigDNA", None))


@defect("error", "plate_manifest", "found rows of SYN99999999 only", do="Check the plate's barcode.")
def another_barcode(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data lies in the folder of one plate and speaks of another."""
    return _edit_load_data(plate, lambda frame: frame.with_columns(Metadata_Plate=pl.lit("SYN99999999")))


@defect("error", "plate_manifest", "found no rows", do="Restore the file.")
def empty_load_data(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data has a header and no rows."""
    return _edit_load_data(plate, lambda frame: frame.head(0))


@defect("error", "plate_manifest", "semicolons between the columns; expected commas", do="Save the file with commas.")
def semicolons(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data was saved with semicolons, as a European spreadsheet does."""
    for path in plate.load_data:
        path.write_text(path.read_text().replace(",", ";"))
    return plate.damage(plate.load_data[0])


@defect("error", "plate_manifest", "row 3: found 24 cells; expected 25", do="Mend the row.")
def ragged_row(plate: Plate, rng: np.random.Generator) -> Damage:
    """A row of load_data has one cell fewer than the header."""
    for path in plate.load_data:
        lines = path.read_text().splitlines()
        lines[2] = lines[2].rsplit(",", 1)[0]
        path.write_text("\n".join(lines) + "\n")
    return plate.damage(plate.load_data[0])


@defect("error", "plate_manifest", "row 19: found 2 cells; expected 25", do="Restore the file.")
def cut_load_data(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data ends in the middle of a row."""
    for path in plate.load_data:
        text = path.read_text()
        path.write_text(text[: text.rindex("\n", 0, len(text) - 1) + 40])
    return plate.damage(plate.load_data[0])


@defect(
    "error",
    "plate_manifest",
    "in the batches 2026_01_01_Batch1, 2026_09_09_Copy",
    do="Name one batch in the source's `batches`.",
)
def same_plate_twice(plate: Plate, rng: np.random.Generator) -> Damage:
    """The same barcode is in two batches."""
    here = plate.load_data[0].parent
    twin = here.parents[1] / "2026_09_09_Copy" / plate.barcode
    shutil.copytree(here, twin)
    return plate.damage(twin)


@defect(
    "flag",
    "plate_manifest",
    "2 of 18 wells of the platemap have no images: A01, A02",
    do="Fetch their load_data, or take them out of the platemap.",
)
def missing_wells(plate: Plate, rng: np.random.Generator) -> Damage:
    """Two wells of the platemap were never imaged."""
    wells = sorted(set(_read(plate.load_data[0])["Metadata_Well"]))[:2]
    return _edit_load_data(plate, lambda frame: frame.filter(~pl.col("Metadata_Well").is_in(wells)), *wells)


def _first_cell(frame: pl.DataFrame, column: str, value: str | None) -> pl.DataFrame:
    return frame.with_columns(pl.Series(column, [value, *frame[column][1:]], dtype=pl.String))


# Platemaps and metadata


@defect(
    "flag", "well_profiles", "the platemap fits the wells better", do="Compare the platemap with the plate's controls."
)
def shifted_platemap(plate: Plate, rng: np.random.Generator) -> Damage:
    """Every treatment in the platemap is one well further than in the plate."""

    def shift(frame: pl.DataFrame) -> pl.DataFrame:
        order = [frame.height - 1, *range(frame.height - 1)]
        moved = frame.drop("well_position")[order]
        return frame.select("well_position").hstack(moved)

    _edit(plate.platemap, shift)
    return plate.damage(plate.platemap)


@defect(
    "error",
    "plate_manifest",
    "found no negative control among the treatments",
    do="Name the controls (`negative_controls`); `[]` for a plate that has none.",
)
def no_controls(plate: Plate, rng: np.random.Generator) -> Damage:
    """The platemap has a compound where the negative controls were: nothing to normalise to."""

    def fill(frame: pl.DataFrame) -> pl.DataFrame:
        some = frame["broad_sample"].drop_nulls()[0]
        return frame.with_columns(pl.col("broad_sample").fill_null(some), pl.col("dose_uM").fill_null("10"))

    _edit(plate.platemap, fill)
    return plate.damage(plate.platemap)


@defect("error", "plate_manifest", "found no row of SYN00000001", do="Add it.")
def plate_without_map(plate: Plate, rng: np.random.Generator) -> Damage:
    """barcode_platemap.csv does not list the plate."""
    _edit(plate.barcodes, lambda frame: frame.filter(pl.col("Assay_Plate_Barcode") != plate.barcode))
    return plate.damage(plate.barcodes)


@defect("error", "plate_manifest", "found 2 platemaps of SYN00000001", do="Keep one of them.")
def plate_with_two_maps(plate: Plate, rng: np.random.Generator) -> Damage:
    """barcode_platemap.csv lists the plate twice."""
    _edit(plate.barcodes, lambda frame: pl.concat([frame, frame.head(1).with_columns(Plate_Map_Name=pl.lit("other"))]))
    return plate.damage(plate.barcodes)


@defect("error", "plate_manifest", "found a file that does not exist", do="Restore it.")
def missing_platemap(plate: Plate, rng: np.random.Generator) -> Damage:
    """The platemap that barcode_platemap.csv names is not there."""
    path = plate.platemap
    path.unlink()
    return plate.damage(path)


@defect("error", "plate_manifest", "rows 2 and 20: found well A01 twice", do="Keep one of the rows.")
def well_twice_in_map(plate: Plate, rng: np.random.Generator) -> Damage:
    """The platemap gives one well two treatments."""
    _edit(plate.platemap, lambda frame: pl.concat([frame, frame.head(1).with_columns(broad_sample=pl.lit("other"))]))
    return plate.damage(plate.platemap)


@defect(
    "error",
    "plate_manifest",
    "found a well that the platemap lacks",
    do="Add the wells, or check that the platemap is the plate's.",
)
def wells_outside_map(plate: Plate, rng: np.random.Generator) -> Damage:
    """Two imaged wells are not in the platemap."""
    wells = _read(plate.platemap)["well_position"][:2]
    _edit(plate.platemap, lambda frame: frame[2:])
    return plate.damage(plate.platemap, *wells)


@defect("error", "plate_manifest", "expected also well_position", do="Rename the column.")
def map_without_wells(plate: Plate, rng: np.random.Generator) -> Damage:
    """The platemap's column of wells has another name."""
    _edit(plate.platemap, lambda frame: frame.rename({"well_position": "position"}))
    return plate.damage(plate.platemap)


@defect("error", "plate_manifest", "twice; expected each once", do="Keep one of the rows.")
def compound_twice(plate: Plate, rng: np.random.Generator) -> Damage:
    """The compound metadata describes one compound twice, with two mechanisms."""
    _edit(plate.metadata, lambda frame: pl.concat([frame, frame.head(1).with_columns(moa=pl.lit("another"))]))
    return plate.damage(plate.metadata)


@defect(
    "flag",
    "plate_manifest",
    "the metadata does not describe the treatments BRD-S00000001-001-01-1",
    do="Add the compound to the metadata.",
)
def unknown_compound(plate: Plate, rng: np.random.Generator) -> Damage:
    """A compound of the platemap is not in the metadata."""
    sample = _read(plate.metadata)["broad_sample"].drop_nulls()[1]
    _edit(plate.metadata, lambda frame: frame.filter(pl.col("broad_sample").ne_missing(sample)))
    wells = _read(plate.platemap).filter(pl.col("broad_sample") == sample)["well_position"]
    return plate.damage(plate.metadata, *wells)


@defect(
    "error",
    "illumination",
    "IllumDNA.npy: found a file that does not exist",
    do="Restore it, or use `method: regular`.",
)
def missing_illumination(plate: Plate, rng: np.random.Generator) -> Damage:
    """load_data_with_illum.csv names an illumination function that is not there."""
    path = plate.illumination / f"{plate.barcode}_IllumDNA.npy"
    path.unlink()
    return plate.damage(path)


@defect(
    "error",
    "illumination",
    "found a function of 80 x 80 pixels; expected 160 x 160",
    do="Restore it, or use `method: regular`.",
)
def wrong_illumination(plate: Plate, rng: np.random.Generator) -> Damage:
    """An illumination function has another size than the images."""
    path = plate.illumination / f"{plate.barcode}_IllumDNA.npy"
    np.save(path, np.load(path)[::2, ::2])
    return plate.damage(path)
