"""A settings file for a folder or a bucket: what lies there is recognised, and written down with comments."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from morpho_assets.errors import InputError, MorphoError
from morpho_assets.gallery.file_names import Listing, list_images, samplesheet
from morpho_assets.gallery.ome_zarr import read_group
from morpho_assets.gallery.source import PlateSource
from morpho_assets.gallery.sources import Source
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import ENDINGS, listed, read_table

COMMENTS = {
    "name": "short; shown beside its plates",
    "kind": "gallery, samplesheet, phenix, ome-zarr or measured",
    "root": "the bucket, or the folder of a mirror",
    "files": "{plate} stands for the barcode, {batch} for the batch",
    "path": "one row per image",
    "platemaps": "barcode_platemap and the platemaps it names",
    "content": "profiles, analysis (CellProfiler's CSVs), sqlite or cytotable",
}
START = Path(__file__).parent / "start"
"""What a folder begins with: the settings of the demo, and of Dagster's instance. The repository's own are the same."""
_MAPS = ("", "/platemaps", "/metadata/platemaps", "/platemaps/{batch}")
_FOUND = ("gallery", "phenix", "sheet", "measured", "images")


@dataclass(frozen=True)
class Proposal:
    """A source for what lies at a place: its settings, what was seen, and a samplesheet to write beside them."""

    source: dict[str, Any]
    seen: tuple[str, ...] = ()
    sheet: Listing | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def propose(place: str, store: Store, name: str = "lab") -> Proposal:
    """Recognise what lies at a place: plates in the Gallery's layout, an Opera Phenix's, OME-Zarr's, a samplesheet,
    plates that CellProfiler measured, or images by their names. Raises InputError where it is none of these."""
    place = place.rstrip("/") if "://" in place else os.path.abspath(os.path.expanduser(place))
    extra: dict[str, Any] = {"endpoint_url": store.endpoint_url} if store.endpoint_url else {}
    extra |= {} if store.anonymous else {"anonymous": False}
    for look in (_gallery, _phenix, _ome_zarr, _sheet, _measured, _images):
        found = look(place, store)
        if found is not None:
            return Proposal({"name": name, **found.source, **extra}, found.seen, found.sheet, found.notes)
    expected = "plates of the Gallery's layout, an Index.xml, a samplesheet, CellProfiler's tables or images"
    raise InputError(place, "", "nothing that is known", expected, "Check the place, or write the settings by hand.")


def settings_text(proposal: Proposal) -> str:
    """The settings file, with comments."""
    lines = [
        "# Settings of morpho-assets; docs/configuration.md describes every key. Paths are relative to this file.",
        "# `morpho check` says whether they fit, without running anything.",
        "sources:",
    ]
    for number, (key, value) in enumerate(proposal.source.items()):
        text = yaml.safe_dump({key: value}, default_flow_style=True, width=1000).strip()[1:-1]
        comment = f"  # {COMMENTS[key]}" if key in COMMENTS else ""
        lines.append(f"  {'-' if number == 0 else ' '} {text}{comment}")
    lines += [
        *(f"    # {note}" for note in proposal.notes),
        "    # channels: [DNA, ER, RNA, AGP, Mito]  # to use, in this order; default: all there are",
        "    # perturbation: [compound, dose]        # columns that name a treatment; default: the usual ones",
        "    # negative_controls: [DMSO]             # [] where the plates have none",
        "",
        "# images: {policy: stream}       # delete a site's fetched images once it is measured",
        "# illumination: {method: regular}  # or gallery, basic, none",
        _segmentation(),
        "# measurement: jump             # CellProfiler's full set; core is a quick look",
        "# profiles: {normalize: {too_few: all}}  # a plate with too few controls: scaled to all its wells",
        "# compute: {workers: 0}         # 0 takes one process for each core",
    ]
    return "\n".join(lines) + "\n"


def _segmentation() -> str:
    """The network, where this processor is quick at it; a settings file says which method it is, so that masks are the
    same on every machine that it comes to."""
    from morpho_assets.imaging.segmentation import network_is_quick

    if network_is_quick():
        return "segmentation: {method: network}  # or watershed …: `morpho segment --try` draws them side by side"
    return "# segmentation: {method: network}  # finds more, but is slow on this processor; without it: the watershed"


def write_settings(proposal: Proposal, file: Path) -> list[Path]:
    """Write the settings file, and the samplesheet beside it where one is needed. Raises InputError for files that are
    there already."""
    files = {file: settings_text(proposal)}
    if proposal.sheet is not None:
        files[file.parent / proposal.source["path"]] = samplesheet(proposal.sheet, proposal.source["name"], "none")
    for path in files:
        if path.exists():
            raise InputError(path, "", "a file that is there already", "no such file", "Name another, or remove it.")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(files)


def start(file: Path) -> list[Path]:
    """Write the demo's settings as `file`, and Dagster's beside it, each where there is none; the files written."""
    return [*_begun(file, "morpho.yaml"), *start_instance(file.parent)]


def start_instance(folder: Path) -> list[Path]:
    """Write the settings of Dagster's instance into a folder that has none; the files written."""
    return _begun(folder / "dagster.yaml", "dagster.yaml")


def _begun(file: Path, name: str) -> list[Path]:
    if file.exists():
        return []
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(START / name, file)
    return [file]


def _gallery(place: str, store: Store) -> Proposal | None:
    """The Gallery's layout, from its root, its project, its source or any folder within."""
    inside = re.match(r"(.+)/workspace(?:/.*)?$", place)
    place = inside[1] if inside else place
    for depth in (0, 1, 2):
        if depth == 2 and "://" in place:
            break  # a bucket's root: to look through all of its projects would take too long
        found = store.glob(f"{place}{'/*' * depth}/workspace/load_data_csv/*/*/load_data*")
        if found:
            base = found[0].split("/workspace/load_data_csv/")[0]
            batches = sorted({path.rsplit("/", 3)[-3] for path in found if path.startswith(f"{base}/")})
            root, project, source = base.rsplit("/", 2)
            plates = sorted({path.rsplit("/", 2)[-2] for path in found})
            notes = (f"batches: [{listed(batches, 6)}]  # default: all",)
            settings = {"kind": "gallery", "root": root, "project": project, "source": source}
            return Proposal(settings, (f"plates of the Gallery's layout: {listed(plates, 6)}",), None, notes)
    return None


def _phenix(place: str, store: Store) -> Proposal | None:
    for below in ("/*/Images", "/*", "/*/*/Images", "/*/*"):
        found = [path for path in store.glob(f"{place}{below}/Index*.xml") if re.search(r"/Index(\.idx)?\.xml$", path)]
        if found:
            folders = [path.removeprefix(f"{place}/").split("/") for path in found]
            level = below.count("*") - 1
            name = "{plate}__*" if all("__" in parts[level] for parts in folders) else "{plate}"
            parts = ["{batch}"] * level + [name] + (["Images"] if below.endswith("Images") else [])
            settings = {"kind": "phenix", "files": f"{place}/{'/'.join(parts)}/Index*.xml", **_platemaps(place, store)}
            note = "stains: {HOECHST 33342: DNA, Alexa 568: AGP}  # the microscope's name of a channel: ours"
            plates = listed(sorted(parts[level].split("__")[0] for parts in folders), 6)
            return Proposal(settings, (f"plates of an Opera Phenix: {plates}",), None, (note,))
    return None


def _ome_zarr(place: str, store: Store) -> Proposal | None:
    for below in ("/*.zarr", "/*/*.zarr"):
        found = [path for path in store.glob(f"{place}{below}") if _is_plate(store, path)]
        if found:
            endings = {re.sub(r"^[^.]*", "", path.rsplit("/", 1)[-1]) for path in found}
            ending = ".ome.zarr" if endings == {".ome.zarr"} else ".zarr"
            files = f"{place}/{'{batch}/' if below.count('*') > 1 else ''}{{plate}}{ending}"
            plates = listed(sorted(path.rsplit("/", 1)[-1].removesuffix(ending) for path in found), 6)
            note = "stains: {Hoechst: DNA}  # the label of a channel, or its number from 0: our name"
            maps = _platemaps(place, store)
            return Proposal(
                {"kind": "ome-zarr", "files": files, **maps}, (f"OME-Zarr plates: {plates}",), None, (note,)
            )
    return None


def _is_plate(store: Store, path: str) -> bool:
    try:
        return "plate" in read_group(store, path)
    except InputError:
        return False


def _sheet(place: str, store: Store) -> Proposal | None:
    if not place.lower().endswith((*ENDINGS, ".gz")) or not store.exists(place):
        return None
    frame = read_table(store.read(place).body, place)
    if not {"channel", "path"} <= set(frame.columns):
        todo = "Add the columns, or name the folder of the images."
        raise InputError(place, "row 1", f"the columns {listed(frame.columns)}", "a samplesheet", todo)
    maps = _platemaps(place.rpartition("/")[0], store)
    return Proposal({"kind": "samplesheet", "path": place, **maps}, (f"a samplesheet of {frame.height} images",))


def _measured(place: str, store: Store) -> Proposal | None:
    kinds = (
        ("sqlite", "/{plate}.sqlite", "/*.sqlite"),
        ("sqlite", "/{plate}/{plate}.sqlite", "/*/*.sqlite"),
        ("sqlite", "/{batch}/{plate}/{plate}.sqlite", "/*/*/*.sqlite"),
        ("analysis", "/{plate}", "/*/*/Image.csv"),
        ("analysis", "/{plate}", "/*/*Image.csv"),
        ("analysis", "/{plate}/analysis", "/*/analysis/*/Image.csv"),
        ("profiles", "/{batch}/{plate}/{plate}_augmented.csv.gz", "/*/*/*_augmented.csv.gz"),
        ("profiles", "/{plate}.csv.gz", "/*.csv.gz"),
    )
    for content, files, pattern in kinds:
        found = store.glob(f"{place}{pattern}")
        if found:
            maps = _platemaps(place, store) or _platemaps(place.rpartition("/")[0], store)
            if content != "profiles" and not maps:
                maps = {"platemaps": "platemaps"}
            settings = {"kind": "measured", "content": content, "files": f"{place}{files}", **maps}
            return Proposal(settings, (f"{content} of {len(found)} plates or sites that were measured elsewhere",))
    return None


def _images(place: str, store: Store) -> Proposal | None:
    try:
        listing = list_images(place, store)
    except InputError as error:
        if "no images among" in error.found:
            return None
        raise
    settings = {"kind": "samplesheet", "path": "samplesheet.csv", **_platemaps(place, store)}
    return Proposal(settings, (listing.text(),), listing)


def _platemaps(place: str, store: Store) -> dict[str, str]:
    """The folder of the platemaps, where there is one at a usual place."""
    for folder in _MAPS:
        if store.glob(f"{place}{folder.format(batch='*')}/barcode_platemap.*"):
            return {"platemaps": f"{place}{folder}"}
    return {}


def first_fault(proposal: Proposal, folder: Path) -> str | None:
    """What the proposed source says of its first plate that needs the user: the message of its manifest, or None."""
    settings = dict(proposal.source)
    for key in ("path", "platemaps"):
        if key in settings and "://" not in settings[key]:
            settings[key] = str(folder / settings[key])
    try:
        source: PlateSource = TypeAdapter(Source).validate_python(settings)
        plates = source.plates()
        if plates:
            source.manifest(plates[0])
    except MorphoError as error:
        return str(error)
    return None
