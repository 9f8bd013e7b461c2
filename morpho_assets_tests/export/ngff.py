"""The rules of OME-NGFF 0.5 that a plate has to keep, told from its zarr.json files alone, not by what wrote them.

https://ngff.openmicroscopy.org/0.5/. `python morpho_assets_tests/export/ngff.py PLATE` asks ome-zarr's own reader and
the models of ome-zarr-models, where these are installed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path


def node(path: Path) -> dict:
    return json.loads((path / "zarr.json").read_text())


def broken_rules(plate: Path) -> list[str]:
    """What is wrong with a plate, in words."""
    return list(_plate(plate))


def _plate(path: Path) -> Iterator[str]:
    group = node(path)
    if group["zarr_format"] != 3 or group["node_type"] != "group":
        yield "the plate is no Zarr 3 group"
    ome = group["attributes"]["ome"]
    yield from _version(ome, "plate")
    plate = ome["plate"]
    for what in ("rows", "columns"):
        names = [each["name"] for each in plate[what]]
        if len(set(names)) != len(names) or not all(re.fullmatch("[A-Za-z0-9]+", name) for name in names):
            yield f"{what}: names must be alphanumeric and different"
    if plate["field_count"] < 1 or not plate["wells"]:
        yield "no wells"
    for well in plate["wells"]:
        row, column = well["path"].split("/")
        if plate["rows"][well["rowIndex"]]["name"] != row or plate["columns"][well["columnIndex"]]["name"] != column:
            yield f"{well['path']}: not at its row and column"
        if node(path / row)["node_type"] != "group":
            yield f"{row}: no group"
        yield from _well(path / well["path"], plate["field_count"])


def _well(path: Path, most: int) -> Iterator[str]:
    ome = node(path)["attributes"]["ome"]
    yield from _version(ome, str(path))
    images = [each["path"] for each in ome["well"]["images"]]
    if not 1 <= len(images) <= most or len(set(images)) != len(images):
        yield f"{path}: images {images}"
    for name in images:
        if not re.fullmatch("[A-Za-z0-9]+", name):
            yield f"{path}: the name {name}"
        yield from _image(path / name)


def _image(path: Path) -> Iterator[str]:
    ome = node(path)["attributes"]["ome"]
    yield from _version(ome, str(path))
    yield from _multiscales(path, ome)
    channels = ome["omero"]["channels"]
    shape = node(path / "0")["shape"]
    if len(channels) != shape[0]:
        yield f"{path}: {len(channels)} channels of {shape[0]}"
    for channel in channels:
        if not re.fullmatch("[0-9A-F]{6}", channel["color"]) or set(channel["window"]) != {
            "min",
            "max",
            "start",
            "end",
        }:
            yield f"{path}: channel {channel}"
    if (path / "labels").exists():
        names = node(path / "labels")["attributes"]["ome"]["labels"]
        if sorted(names) != sorted(each.name for each in (path / "labels").iterdir() if each.is_dir()):
            yield f"{path}: labels {names} are not what is there"
        for name in names:
            label = path / "labels" / name
            own = node(label)["attributes"]["ome"]
            yield from _multiscales(label, own)
            if (label / own["image-label"]["source"]["image"]).resolve() != path.resolve():
                yield f"{label}: its source is another image"
            if not node(label / "0")["data_type"].startswith(("int", "uint")):
                yield f"{label}: labels are integers"
            if node(label / "0")["shape"] != shape[1:]:
                yield f"{label}: another size than its image"


def _multiscales(path: Path, ome: dict) -> Iterator[str]:
    for each in ome["multiscales"]:
        names, kinds = ([axis[what] for axis in each["axes"]] for what in ("name", "type"))
        spaces = kinds.count("space")
        if (
            not 2 <= len(names) <= 5
            or spaces not in (2, 3)
            or kinds != ["channel"] * (len(names) - spaces) + ["space"] * spaces
        ):
            yield f"{path}: axes {names} of {kinds}"
        before: list[int] = []
        for dataset in each["datasets"]:
            array = node(path / dataset["path"])
            if array["node_type"] != "array" or array["dimension_names"] != names:
                yield f"{path}: array {dataset['path']} has the dimensions {array.get('dimension_names')}"
            if before and any(now > then for now, then in zip(array["shape"], before, strict=True)):
                yield f"{path}: levels are not from large to small"
            before = array["shape"]
            transformations = dataset["coordinateTransformations"]
            if [one["type"] for one in transformations] not in (["scale"], ["scale", "translation"]):
                yield f"{path}: transformations {transformations}"
            if any(len(one[one["type"]]) != len(names) for one in transformations):
                yield f"{path}: transformations of another number of axes"


def _version(ome: dict, where: str) -> Iterator[str]:
    if ome["version"] != "0.5":
        yield f"{where}: version {ome['version']}"


def _ask_ome_zarr(plate: Path) -> str:
    """What ome-zarr's reader and the models find, as JSON: wells, and of each field the shapes of image and labels."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Label, Multiscales, Plate, Reader
    from ome_zarr_models.v05 import HCS, Image
    from zarr import open_group

    [root] = [found for found in Reader(parse_url(str(plate)))() if any(isinstance(s, Plate) for s in found.specs)]
    wells = HCS.from_zarr(open_group(str(plate), mode="r")).ome_attributes.plate.wells
    told = {"whole plate": root.data[0].shape, "wells": [well.path for well in wells], "fields": {}}
    for well in wells:
        for field in sorted(each for each in (plate / well.path).iterdir() if each.is_dir()):
            Image.from_zarr(open_group(str(field), mode="r"))
            found = [each for each in Reader(parse_url(str(field)))() if each.data]
            shapes = [
                (isinstance_of(each.specs, Label), each.data[0].shape)
                for each in found
                if isinstance_of(each.specs, Multiscales)
            ]
            told["fields"][f"{well.path}/{field.name}"] = sorted(shapes)
    return json.dumps(told)


def isinstance_of(specs: list, kind: type) -> bool:
    return any(isinstance(spec, kind) for spec in specs)


if __name__ == "__main__":
    sys.stdout.write(_ask_ome_zarr(Path(sys.argv[1])))
