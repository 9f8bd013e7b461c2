"""Fixtures that more than one room uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import tifffile

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `morpho` does, before a library reads it

from morpho_assets.lake.lake import Lake
from morpho_assets.settings import Settings
from morpho_assets.simulator import write_gallery
from morpho_assets.stages import STAGES
from morpho_assets.workspace import Workspace
from morpho_assets_tests.factories import fill_plate, samplesheet, write, write_rows
from morpho_assets_tests.object_store import ObjectStore, serve
from morpho_assets_tests.project import Project, make_project

# Other work on the machine makes no test fail.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder of real reference data, from `MORPHO_REFERENCE_DATA`; skips, saying so, where there is none."""
    folder = os.environ.get("MORPHO_REFERENCE_DATA")
    if not folder:
        pytest.skip("needs real reference data: set MORPHO_REFERENCE_DATA to its folder")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.fail(f"MORPHO_REFERENCE_DATA is {folder}, which is not a folder")
    return path


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server on loopback with the bucket `bucket`, whose objects anybody may read."""
    with serve() as store:
        store.create("bucket")
        yield store


@pytest.fixture
def plate_lake(tmp_path: Path) -> Lake:
    """A lake with the plate of `fill_plate`, which passes every check."""
    lake = Lake(str(tmp_path / "lake"))
    fill_plate(lake)
    return lake


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty lake, and a samplesheet with the plates P1 and P2 of two wells each."""
    rows = ["channel,path,source,batch,plate,well,site,Metadata_Perturbation"]
    for key in ("P1", "P2"):
        for well, treatment in (("A01", "DMSO"), ("A02", "water")):
            tifffile.imwrite(tmp_path / f"{key}-{well}.tiff", np.full((8, 8), len(rows), np.uint16))
            rows.append(f"DNA,{key}-{well}.tiff,lab,B,{key},{well},1,{treatment}")
    sheet = write(tmp_path / "sheet.csv", "\n".join(rows) + "\n")
    lake = str(tmp_path / "lake")
    return Workspace(Settings(lake=lake, sources=(samplesheet(sheet),)), Lake(lake), tmp_path)


@pytest.fixture
def quick_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the images is made by `write_rows`; all else of the stages, and the two before, stay."""
    for name, stage in STAGES.items():
        if name not in ("plate_manifest", "raw_images"):
            monkeypatch.setitem(STAGES, name, replace(stage, function=write_rows, checks=()))


@pytest.fixture(scope="session")
def tiny_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic gallery of size `tiny`, written once; tests that change it copy it first."""
    root = tmp_path_factory.mktemp("gallery")
    write_gallery(root, "tiny", seed=0)
    return root


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project on which `morpho demo` has run, and what it printed; tests only read it."""
    project = make_project(tmp_path_factory.mktemp("demo"))
    return project, project.run("demo", "--size", "tiny")


@pytest.fixture(scope="session", autouse=True)
def _no_dead_instance() -> Iterator[None]:
    """Dagster keeps the state storage of the current instance in a context variable. An instance that is closed late,
    by the garbage collector, would put back what was there before it, in the middle of another test; here it only
    takes away what is its own."""
    from dagster._core.storage.defs_state import base

    @contextmanager
    def set_defs_state_storage(storage: object) -> Iterator[None]:
        base._current_storage.set(storage)
        try:
            yield
        finally:
            if base._current_storage.get() is storage:
                base._current_storage.set(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "set_defs_state_storage", set_defs_state_storage)
        yield


@pytest.fixture(autouse=True)
def _no_instance_of_another_test() -> None:
    """An instance that another test left open, and that was collected by another thread, is still named here."""
    from dagster._core.storage.defs_state import base

    base._current_storage.set(None)
