"""What a run would find, before it is started: settings, sources, platemaps, some of the images, studies.

Nothing is written. Every fault is told with its file, what was found, what was expected and what to do; what was
understood is shown as a table, a plate a row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.images import image_stamps
from morpho_assets.gallery.source import Manifest, PlateSource
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import listed
from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.planes import Plane, decode, pixel_size
from morpho_assets.measure.stains import nuclear_channel
from morpho_assets.profiles.rows import rows_where
from morpho_assets.settings import Settings, load_settings
from morpho_assets.studies.model import load_study, study_files

PLATES = 4  # of each source, unless some are named
SAMPLE_SITES = 3  # of each plate, whose images are read
FAULTS = 40  # shown of each file

# What a run takes, from docs/benchmarks.md: seconds on one core and megabytes in the lake, a megapixel of a site.
SEGMENTATION_SECONDS = 1.5
SECONDS_A_CHANNEL = 0.35  # quality, illumination and the full set of measurements
MEGABYTES = 1.6  # label images and some hundred cells with their measurements


@dataclass(frozen=True)
class Images:
    """What a sample of a plate's images is: height and width, type, bits that are used, µm a pixel, mean bytes."""

    shape: tuple[int, int]
    kind: str
    bits: int
    micrometres: float | None
    bytes: float


@dataclass(frozen=True)
class PlateFound:
    """What was understood of a plate."""

    plate: str
    source: str
    manifest: Manifest
    present: pl.DataFrame
    """`sites` with `there`: whether the image is."""
    images: Images | None
    remote: bool = False

    def row(self, cores: int) -> dict[str, str]:
        """The plate's row of the table."""
        wells, sites = self.manifest.wells, self.manifest.sites
        imaged = _imaged(self.manifest)
        controls = wells.filter(Metadata_control_type="negcon")
        treated = wells.filter(Metadata_pert_type="trt")["Metadata_Perturbation"].value_counts()
        place = {"plate": self.plate, "source": self.source}
        seen = imaged.filter(Metadata_control_type="negcon").height
        number = f"{seen} of {controls.height}" if seen < controls.height else str(seen)
        done = {
            "controls": f"{number} {listed(controls['Metadata_Perturbation'].unique().sort(), 2)}".strip(),
            "treatments": str(treated.height),
            "replicates": f"{median(treated['count']):g}" if treated.height else "0",
        }
        if not sites.height:
            return {**place, "wells": str(wells.height), "sites": "measured elsewhere", **done}
        channels = self.present.group_by("channel", maintain_order=True).agg(pl.col("there").sum(), of=pl.len())
        shown = [name if there == of else f"{name} {there} of {of}" for name, there, of in channels.iter_rows()]
        fields = sites.select("Metadata_Well", "Metadata_Site").n_unique()
        return {
            **place,
            "wells": f"{imaged.height} of {wells.height}",
            "sites": str(fields),
            "channels": ", ".join(shown),
            **done,
            **(self._pictures(fields, channels.height, cores) if self.images else {}),
        }

    def _pictures(self, sites: int, channels: int, cores: int) -> dict[str, str]:
        images = self.images
        assert images is not None
        size = math.prod(images.shape) / 1e6
        seconds = sites * size * (SEGMENTATION_SECONDS + SECONDS_A_CHANNEL * channels) / cores
        megabytes = sites * (size * MEGABYTES + (channels * images.bytes / 1e6 if self.remote else 0))
        return {
            "pixels": f"{images.shape[0]} x {images.shape[1]}",
            "depth": f"{images.kind}, {images.bits} bits used",
            "µm by its tag": f"{images.micrometres:.3g}" if images.micrometres else "unknown",
            "disk": _amount(megabytes, ((1e6, "TB"), (1e3, "GB"), (1, "MB"))),
            "time": _amount(seconds, ((3600, "h"), (60, "min"), (1, "s"))),
        }


@dataclass
class Report:
    """What was understood, what is wrong, and what else should be known."""

    plates: list[PlateFound] = field(default_factory=list)
    faults: list[InputError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cores: int = 1

    def add(self, fault: InputError) -> None:
        """Take a fault and those that came with it."""
        self.faults += [fault, *fault.others]

    def text(self) -> str:
        """The table, the notes and the faults."""
        parts = [_table([plate.row(self.cores) for plate in self.plates])] if self.plates else []
        if any(plate.images for plate in self.plates):
            parts.append(f"Disk and time are rough, for a run of every stage with {self.cores} at work.")
        parts += self.notes
        shown: dict[str, int] = {}
        for number, fault in enumerate(self.faults, start=1):
            shown[fault.file] = shown.get(fault.file, 0) + 1
            if shown[fault.file] <= FAULTS:
                place = f"{fault.file}, {fault.where}" if fault.where else fault.file
                lines = (f"found     {fault.found}", f"expected  {fault.expected}", f"do        {fault.do}")
                parts.append("\n".join([f"{number}. {place}", *(f"   {line}" for line in lines)]))
        parts += [f"… and {n - FAULTS} more of {file}" for file, n in shown.items() if n > FAULTS]
        number = len(self.faults)
        parts.append(f"{number} fault{'s' if number > 1 else ''}." if number else "No fault was found.")
        return "\n\n".join(parts)


def check_settings(file: Path, plates: Sequence[str] = (), every: bool = False) -> Report:
    """Check a settings file and all that it names: the plates given, else the first of each source, or `every` one."""
    report = Report()
    try:
        settings = load_settings(file)
    except InputError as error:
        report.add(error)
        return report
    report.cores = settings.compute.processes
    known = _known_plates(settings, report)
    for plate in plates:
        if plate not in known:
            report.add(_unknown(plate, "plate", "morpho check --plate", known))
    chosen = [plate for plate in plates if plate in known] if plates else _first(known, every, report)
    for plate in chosen:
        sources = known[plate]
        if len(sources) > 1:
            names = ", ".join(source.name for source in sources)
            todo = "Name each plate once: leave it out of one, or use `batches`."
            report.add(InputError(file, f"plate {plate}", f"the plate in {names}", "one source with it", todo))
        _check_plate(settings, plate, sources[0], report)
    _check_studies(settings, file, known, report)
    return report


def _known_plates(settings: Settings, report: Report) -> dict[str, list[PlateSource]]:
    """The sources that have each plate; what cannot be listed is a fault."""
    known: dict[str, list[PlateSource]] = {}
    if not settings.sources:
        report.notes.append("No sources: there is nothing to run. `morpho init` writes one from a folder.")
    for source in settings.sources:
        try:
            plates = source.plates()
        except InputError as error:
            report.add(error)
            continue
        if not plates:
            place = getattr(source, "base", None) or getattr(source, "files", None) or getattr(source, "path", "")
            todo = "Check the source's place; `morpho plates list` shows what it finds."
            report.add(InputError(f"source {source.name}", str(place), "no plate", "some", todo))
        for plate in plates:
            known.setdefault(plate, []).append(source)
    return known


def _first(known: dict[str, list[PlateSource]], every: bool, report: Report) -> list[str]:
    """The first plates of each source; all with `every`."""
    chosen = []
    counts: dict[str, int] = {}
    for plate, (source, *_) in known.items():
        counts[source.name] = counts.get(source.name, 0) + 1
        if every or counts[source.name] <= PLATES:
            chosen.append(plate)
    if len(chosen) < len(known):
        report.notes.append(
            f"{len(chosen)} of {len(known)} plates were looked at: --plate names others, --all takes all."
        )
    return chosen


def _check_plate(settings: Settings, plate: str, source: PlateSource, report: Report) -> None:
    try:
        manifest = source.manifest(plate)
    except InputError as error:
        report.add(error)
        return
    sites, store = manifest.sites, source.store()
    try:
        stamps = image_stamps(store, sites.to_dicts())
    except InputError as error:
        report.add(error)
        return
    present = sites.with_columns(there=pl.Series([stamps[uri] is not None for uri in sites["uri"]], dtype=pl.Boolean))
    absent = present.filter(~pl.col("there"))
    if absent.height:
        first = absent.row(0, named=True)
        found = f"{absent.height} of {sites.height} images that are not there, such as {first['uri']}"
        place = f"well {first['Metadata_Well']}, site {first['Metadata_Site']}, channel {first['channel']}"
        todo = "Restore them, correct the paths, or set `replace`; the sites without them fail, the plate goes on."
        report.add(InputError(manifest.files[0], place, found, "every image", todo))
    channels = sites["channel"].unique(maintain_order=True).to_list()
    if channels and nuclear_channel(settings.segmentation, channels) is None:
        found = f"the channels {', '.join(channels)} on plate {plate}"
        todo = "Name the plate's nuclear stain in `segmentation`, or correct the channels' names."
        report.add(InputError("segmentation", "nuclei", found, "a channel that shows nuclei", todo))
    _check_reference(settings, plate, source, manifest, report)
    remote = bool(channels) and "://" in store.resolve(sites["uri"][0])
    report.plates.append(PlateFound(plate, source.name, manifest, present, _sample(present, store, report), remote))


def _imaged(manifest: Manifest) -> pl.DataFrame:
    """The wells that have images; of a plate that was measured elsewhere all."""
    imaged = manifest.sites.select("Metadata_Well").unique()
    return manifest.wells.join(imaged, on="Metadata_Well", how="semi") if imaged.height else manifest.wells


def _check_reference(settings: Settings, plate: str, source: PlateSource, manifest: Manifest, report: Report) -> None:
    """Too few wells to scale a plate by end its run at the profiles, after all the work on its images."""
    config = settings.profiles.normalize
    if config.method == "none" or config.too_few != "error" or getattr(source, "normalized", False):
        return
    imaged = _imaged(manifest)
    try:
        number = int(rows_where(imaged, config.reference).sum())
    except InputError as error:
        report.add(error)
        return
    if number < config.min_reference:
        found = f"{number} of {imaged.height} wells that are there where {config.reference}"
        todo = (
            "Its run would stop at the profiles. Scale it to all its wells, `profiles: {normalize: {too_few: all}}`, "
            "name others in `reference`, or add the controls' images."
        )
        report.add(InputError("profiles", f"plate {plate}", found, f"at least {config.min_reference}", todo))


def _sample(present: pl.DataFrame, store: Store, report: Report) -> Images | None:
    """Read all channels of a few sites spread over the plate; what cannot be read, or is no picture, is a fault."""
    places = present.filter("there").select("Metadata_Well", "Metadata_Site").unique(maintain_order=True)
    if not places.height:
        return None
    spread = np.linspace(0, places.height - 1, min(SAMPLE_SITES, places.height)).round().astype(int).tolist()
    found: list[tuple[str, str, Images]] = []
    for well, site in places[spread].iter_rows():
        pictures: dict[str, str] = {}
        for row in present.filter("there", Metadata_Well=well, Metadata_Site=site).iter_rows(named=True):
            place, plane = f"well {well}, site {site}, channel {row['channel']}", Plane(row["series"], row["frame"])
            try:
                content = store.read(row["uri"])
                found.append((row["uri"], place, _image(content.body, row["uri"], plane)))
            except ImageError as error:
                reason, _, todo = error.reason.partition("; ")
                do = f"{todo[:1].upper()}{todo[1:] or 'Restore it'}."
                report.add(InputError(error.path, place, f"an image that {reason}", "a grey image like the others", do))
                continue
            same = pictures.setdefault(f"{content.sha256} {plane}", row["channel"])
            if same != row["channel"]:
                said = f"the same picture as channel {same}"
                todo = "Correct the file that lists the images, or export the channel again."
                report.add(InputError(row["uri"], place, said, "a picture of its own", todo))
    if not found:
        return None
    shape = Counter(images.shape for _, _, images in found).most_common(1)[0][0]
    for uri, place, images in found:
        if images.shape != shape:
            sizes = [f"{height} x {width} pixels" for height, width in (images.shape, shape)]
            report.add(InputError(uri, place, sizes[0], sizes[1], "Export all images at one size."))
    sample = [images for _, _, images in found]
    most = max(sample, key=lambda images: images.bits)
    size = next((images.micrometres for images in sample if images.micrometres), None)
    return Images(shape, most.kind, most.bits, size, float(np.mean([images.bytes for images in sample])))


def _image(content: bytes, uri: str, plane: Plane) -> Images:
    """One image as `Images`. Raises ImageError for one that a run could not use."""
    read_image(content, plane, name=uri)
    pixels = decode(uri, content, plane)
    bits = int(pixels.max()).bit_length() if pixels.dtype.kind in "ui" else pixels.dtype.itemsize * 8
    height, width = pixels.shape
    return Images((height, width), str(pixels.dtype), bits, pixel_size(content), len(content))


def _check_studies(settings: Settings, file: Path, known: dict[str, list[PlateSource]], report: Report) -> None:
    """The studies of the user's own folder: their keys, and the plates that they name."""
    folder = Path(settings.studies)
    for name, path in study_files(folder).items():
        if path.parent != folder:
            continue  # shipped ones are of plates that a user may not have
        try:
            study = load_study(name, folder, file.resolve().parent)
        except InputError as error:
            report.add(error)
            continue
        for plate in study.plates if study.plates != "all" else ():
            if plate not in known:
                report.add(_unknown(plate, "plate", str(path), known))


def _unknown(name: str, what: str, file: str, known: dict[str, list[PlateSource]]) -> InputError:
    close = get_close_matches(name, known, 1)
    todo = f"Did you mean {close[0]}?" if close else f"Check the {what}'s name."
    return InputError(file, f"{what} {name}", f"the {what}s {listed(known, 8) or 'none'}", name, todo)


def _amount(value: float, units: tuple[tuple[float, str], ...]) -> str:
    size, unit = next(((size, unit) for size, unit in units if value >= size), units[-1])
    return f"{value / size:.2g} {unit}"


def _table(rows: list[dict[str, str]]) -> str:
    """Rows as lines of text, columns aligned."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(names))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
