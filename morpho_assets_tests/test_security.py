"""Secrets stay where they were written, and what others wrote is data: it runs nothing and leaves its place nowhere."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import pickle
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
import tifffile
import yaml

from morpho_assets.errors import ImageError, InputError, MorphoError
from morpho_assets.export.gallery_layout import platemap
from morpho_assets.gallery.csv_text import harmless
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.zarr_planes import PlaneName
from morpho_assets.imaging.segmentation.cellpose_network import _weights
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.lake.ledger import Partition
from morpho_assets.publication import publish
from morpho_assets.runs import Run
from morpho_assets.settings import load_settings
from morpho_assets.simulator import write_gallery
from morpho_assets.studies.model import load_study
from morpho_assets_tests.factories import write, write_settings
from morpho_assets_tests.object_store import ObjectStore
from morpho_assets_tests.project import make_project
from morpho_assets_tests.simulator.conftest import SMALL
from morpho_assets_tests.stormy import project_in, put_gallery

PLATE = "SYN00000001"


# Credentials


def planted_in(folder: Path, secrets: list[str], but: set[str]) -> list[str]:
    """The files under a folder in which a secret stands, in whatever format they are, packed or not."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in but:
            body = path.read_bytes()
            if any(form in body for secret in secrets for form in _forms(secret)):
                found.append(str(path.relative_to(folder)))
    return found


def _forms(secret: str) -> list[bytes]:
    return [secret.encode(), secret.encode("utf-16-le"), base64.b64encode(secret.encode()).rstrip(b"=")[:-1]]


@pytest.mark.slow
def test_a_credential_is_in_no_log_no_ledger_and_no_database(
    tmp_path: Path, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stands in the settings, another in the environment; a plate is made, looked at, and fails."""
    key, secret, other = "AKIAPLANTEDINSETTING", "planted/in+the+settings/0123456789abcdef", "planted-in-environment"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTEDOUTSIDE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", other)
    (tmp_path / "gallery").mkdir()
    write_gallery(tmp_path / "gallery", SMALL, seed=3)
    put_gallery(object_store, "secrets", tmp_path / "gallery")
    options = {**object_store.options, "key": key, "secret": secret}
    project = project_in(object_store, tmp_path / "project", "secrets", lake_options=options)
    settings = project.folder / "morpho.yaml"
    content = yaml.safe_load(settings.read_text())
    content["sources"][0]["anonymous"] = False
    settings.write_text(yaml.safe_dump(content))
    said = project.run("run", "--plate", PLATE)
    said += project.run("plan", "--look", "--plate", PLATE)
    said += project.run("lineage", "well_profiles", "--plate", PLATE, "--openlineage")
    object_store.network.forbidden = tuple(
        path.name for path in (tmp_path / "gallery").rglob("*.tiff"))  # fmt: skip
    try:
        for _ in range(2):  # attempts that fail are recorded with their sentences
            process = project.start("run", "--force", "--plate", PLATE)
            said += process.communicate()[0]
            assert process.returncode == 1
    finally:
        object_store.network.forbidden = ()
    assert "AKIA" not in said
    assert secret not in said
    assert other not in said
    assert planted_in(project.folder, [key, secret, other], {"morpho.yaml"}) == []
    listed = object_store.client.list_objects_v2(Bucket="secrets", Prefix="lake/")["Contents"]
    assert len(listed) > 50
    for each in listed:
        body = object_store.client.get_object(Bucket="secrets", Key=each["Key"])["Body"].read()
        assert not any(form in body for each in (key, secret, other) for form in _forms(each)), each
    workspace = project.workspace
    assert secret not in repr(workspace)
    assert secret not in repr(workspace.lake.files)
    assert secret not in str(workspace.settings)


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\x00key=SECRETSECRET\x00")
    assert planted_in(tmp_path, ["SECRETSECRET"], set()) == ["log"]


# Hostile texts

NAMES = [
    "'; DROP TABLE wells; --",
    "\"; ATTACH '/tmp/evil.duckdb'; --",
    '=HYPERLINK("http://evil";"x")',
    "+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "../../../../outside",
    "%2e%2e%2foutside",
    "{{7*7}}${7*7}",
]
"""Of treatments; channels, batches and plates are tried below."""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A samplesheet of one plate whose treatments and batch have such names; its folder."""
    rng, rows = np.random.default_rng(0), []
    head = ["channel", "path", "source", "batch", "plate", "well", "site", "Metadata_Perturbation"]
    treatments = ["DMSO", "DMSO", "DMSO", *NAMES]
    for number, treatment in enumerate(treatments):
        well = f"{chr(65 + number // 12)}{number % 12 + 1:02d}"
        for channel in ("DNA", "ER"):
            image = rng.normal(300, 20, (64, 64))
            for y, x in rng.integers(8, 56, (4, 2)):
                image[y - 4 : y + 5, x - 4 : x + 5] += 6000
            tifffile.imwrite(tmp_path / f"{well}-{channel}.tiff", image.astype(np.uint16))
            rows.append([channel, f"{well}-{channel}.tiff", "lab", "../../batch", PLATE, well, "1", treatment])
    text = io.StringIO()
    csv.writer(text).writerows([head, *rows])
    write(tmp_path / "project/sheet.csv", text.getvalue())
    for image in tmp_path.glob("*.tiff"):
        image.rename(tmp_path / "project" / image.name)
    return tmp_path / "project"


@pytest.mark.slow
def test_hostile_names_of_treatments_are_names(hostile: Path) -> None:
    segmentation = {"method": "watershed", "nuclei": {"min_diameter": 4, "max_diameter": 30}}
    source = {"kind": "samplesheet", "name": "lab", "path": "sheet.csv", "negative_controls": ["DMSO"]}
    before = {path for path in hostile.parent.rglob("*") if hostile not in path.parents}
    project = make_project(hostile, sources=[source], segmentation=segmentation)
    run = Run(project.workspace)
    for stage in ("plate_manifest", "raw_images", "illumination", "image_quality", "masks", "single_cells",
                  "well_profiles"):  # fmt: skip
        run.make(stage, Partition("plate", PLATE))
    publish(project.workspace)
    catalog = project.workspace.settings.catalog
    found = query_catalog(catalog, "SELECT DISTINCT Metadata_Perturbation AS t FROM normalized_profiles")["t"]
    assert set(found) == {"DMSO", *NAMES}
    assert {path for path in hostile.parent.rglob("*") if hostile not in path.parents} - {hostile} <= before
    assert not Path("/tmp/evil.duckdb").exists()
    wells = project.read("wells", PLATE)
    cells = [cell for row in csv.reader(io.StringIO(harmless(platemap(wells)).write_csv())) for cell in row]
    assert not [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)]
    shown = _markdown(project, PLATE)
    assert "<script>" not in shown
    assert "<img" not in shown


def _markdown(project: Any, plate: str) -> str:
    """What the UI is given to show as markdown and text, of every stage."""
    from morpho_assets.assets.pictures import pictures_of

    workspace = project.workspace
    shown = []
    for (_, own), commit in workspace.lake.ledger.state().commits.items():
        if own.key == plate:
            for value in pictures_of(workspace, commit).values():
                text = getattr(value, "md_str", None) or (value if isinstance(value, str) else "")
                shown.append(re.sub(r"!\[[^\]]*\]\(data:[^)]*\)", "", text))
    return "\n".join(shown)


def test_a_formula_in_a_csv_stays_a_text_and_a_number_a_number() -> None:
    names = ["=1+1", "-3.5", "-x", "(+)-JQ1", None, "@x", "\tx", "-"]
    frame = pl.DataFrame({"name": names, "n": [1.5, -2, 3] + [0] * 5},
                         strict=False)  # fmt: skip
    assert harmless(frame)["name"].to_list() == ["'=1+1", "-3.5", "'-x", "(+)-JQ1", None, "'@x", "'\tx", "-"]
    assert harmless(frame)["n"].equals(frame["n"])
    assert harmless(pl.DataFrame({"n": [1]})).columns == ["n"]


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "..", "a\x00b"])
@pytest.mark.parametrize("what", ["channel", "plate", "well", "batch"])
def test_no_name_of_a_samplesheet_leaves_the_data_folder(tmp_path: Path, what: str, name: str) -> None:
    """It is refused with a sentence, or its files have names that stay inside."""
    tifffile.imwrite(tmp_path / "i.tiff", np.zeros((16, 16), np.uint16))
    row = {"channel": "DNA", "path": str(tmp_path / "i.tiff"), "source": "lab", "batch": "B", "plate": "P1",
           "well": "A01", "site": "1", "Metadata_Perturbation": "DMSO", what: name}  # fmt: skip
    text = io.StringIO()
    csv.writer(text).writerows([row.keys(), row.values()])
    write(tmp_path / "in/project/sheet.csv", text.getvalue())
    project = make_project(tmp_path / "in/project",
                           sources=[{"kind": "samplesheet", "name": "lab", "path": "sheet.csv"}])  # fmt: skip
    plate = row["plate"]
    with suppress(MorphoError):  # refused with a sentence
        run = Run(project.workspace)
        for stage in ("plate_manifest", "raw_images"):
            run.make(stage, Partition("plate", plate))
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "in/project" not in path.parents]
    assert outside == [tmp_path / "i.tiff"]
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize("text", [
    "!!python/object/apply:os.system ['touch {mark}']",
    "sources: !!python/object/new:os.system ['touch {mark}']",
    "lake: &a [*a, *a]",
    "catalog: \"data/'; DROP TABLE x; --\\0.duckdb\"",
], ids=["runs", "runs inside", "itself", "zero byte"])  # fmt: skip
def test_hostile_settings_and_studies_run_nothing(tmp_path: Path, text: str) -> None:
    mark = tmp_path / "mark"
    settings = write(tmp_path / "morpho.yaml", text.format(mark=mark))
    study = write(tmp_path / "studies/evil.yaml", text.format(mark=mark))
    for read in (lambda: load_settings(settings), lambda: load_study("evil", study.parent, tmp_path)):
        with suppress(InputError):
            read()
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", "/etc/passwd", "a'b; --"])
def test_a_study_cannot_be_read_from_elsewhere(tmp_path: Path, name: str) -> None:
    write(tmp_path / "evil.yaml", "{name: evil, title: T, spaces: {}, evaluators: {}}")
    (tmp_path / "studies").mkdir()
    with pytest.raises(InputError):
        load_study(name, tmp_path / "studies", tmp_path)


@pytest.mark.parametrize("statement", ["DROP TABLE wells", "INSERT INTO wells VALUES (1)", "CREATE TABLE x AS SELECT 1",
                                       "UPDATE wells SET Metadata_Well = ''"])  # fmt: skip
def test_sql_reads_the_catalog_and_writes_nothing(tmp_path: Path, statement: str) -> None:
    from morpho_assets.lake.lake import Lake
    from morpho_assets_tests.factories import fill_plate

    lake = Lake(str(tmp_path / "lake"))
    fill_plate(lake)
    workspace = _over(tmp_path, lake)
    publish(workspace)
    catalog = workspace.settings.catalog
    before = Path(catalog).read_bytes()
    with pytest.raises((MorphoError, duckdb.Error)):
        query_catalog(catalog, statement)
    assert Path(catalog).read_bytes() == before


def _over(folder: Path, lake: Any) -> Any:
    from morpho_assets.workspace import Workspace

    file = write_settings(folder)
    return Workspace(load_settings(file), lake, folder)


# Foreign weights, functions and images


class Evil:
    """What a pickle of this runs when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Any:
    """A folder that is there if code was run; a test that it would be is made first."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Evil(proof)))
    assert proof.exists()
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists()


def test_weights_that_are_a_pickle_are_no_weights(tmp_path: Path, mark: Path) -> None:
    import torch

    (tmp_path / "plain").write_bytes(pickle.dumps(Evil(mark), protocol=2))
    torch.save({"W2": Evil(mark)}, tmp_path / "packed")
    for name in ("plain", "packed"):
        with pytest.raises(InputError, match="no cellpose 3 weights"):
            _weights(tmp_path / name, 3)


def test_a_pickled_array_is_no_image_and_no_function(tmp_path: Path, mark: Path) -> None:
    np.save(tmp_path / "f.npy", np.array([Evil(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(tmp_path / "f.npy")
    from morpho_assets.imaging.images import read_image

    with pytest.raises(ImageError):
        read_image((tmp_path / "f.npy").read_bytes(), name="f.npy")


@pytest.mark.parametrize("where", ["compressor", "filters"])
def test_a_zarr_array_of_pickles_is_not_read(tmp_path: Path, mark: Path, where: str) -> None:
    """numcodecs has a codec that loads pickles: an array that names it would run what it likes."""
    array = tmp_path / "a.zarr"
    codec = {"id": "pickle", "protocol": 5}
    about = {"zarr_format": 2, "shape": [1, 4, 4], "chunks": [1, 4, 4], "dtype": "<u2", "order": "C", "fill_value": 0,
             "compressor": None, "filters": None}  # fmt: skip
    about[where] = codec if where == "compressor" else [codec]
    write(array / ".zarray", json.dumps(about))
    (array / "0.0.0").write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(ImageError, match="pickled objects"):
        Store().read(str(PlaneName(str(array), (0,))))


def test_label_images_are_pixels(tmp_path: Path, mark: Path) -> None:
    from morpho_assets.imaging.images import read_labels

    for name, body in {"a.tif": pickle.dumps(Evil(mark)), "b.png": b"\x89PNG" + pickle.dumps(Evil(mark))}.items():
        with pytest.raises(MorphoError):
            read_labels(body, name=name)


def test_weights_of_encoders_are_safetensors_and_the_package_loads_no_pickle() -> None:
    """torch.load without weights_only, numpy with allow_pickle and pickle.load are nowhere in the package."""
    import morpho_assets

    for file in Path(morpho_assets.__file__).parent.rglob("*.py"):
        text = file.read_text()
        runs = r"pickle\.loads?\(|allow_pickle=True|joblib\.load\(|yaml\.(unsafe_)?load\((?!file\.read)"
        assert not re.search(runs, text), file
        for call in re.findall(r"torch\.load\(.*", text):
            assert "weights_only=True" in call, file
