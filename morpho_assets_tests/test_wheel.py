"""The wheel holds everything: installed where nothing but its requirements is, it makes the demo in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from benchmarks.pins import TARGETS, pinned
from morpho_assets_tests.project import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory)


def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy of what a release holds, as `make wheel` builds it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "morpho_assets", source / "morpho_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    for file in source.rglob("*"):
        os.utime(file)  # no two copies are of one time
    subprocess.run([*pip, "--wheel-dir", str(out), str(source)], check=True,
                   env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"})  # fmt: skip
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, and the pinned packages that it needs: those of tests are not there.

    The packages are this environment's own, linked, so that nothing is fetched.
    """
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin/python")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", str(wheel)], check=True
    )
    here = next(target for target in TARGETS if target.python == f"{sys.version_info[0]}.{sys.version_info[1]}")
    needed = set(pinned((ROOT / "constraints.txt").read_text().splitlines(), here))
    (packages,) = folder.glob("lib/python*/site-packages")
    for each in distributions():
        name = canonicalize_name(each.name)
        if name in needed or name.startswith(("nvidia-", "cuda-", "triton")):
            for top in {file.parts[0] for file in each.files or () if file.parts[0] not in ("..", "__pycache__")}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(each.locate_file(top))
    return folder


def morpho(environment: Path, folder: Path, *arguments: str) -> str:
    """Run `morpho` of an environment in a folder, as a user would who never saw the repository."""
    ours = ("PYTHON", "MORPHO_", "DAGSTER_", "NUMBA_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    run = subprocess.run(
        [environment / "bin/morpho", *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_wheel_has_every_file_of_the_package_and_no_test(wheel: Path) -> None:
    files = {file for file in (ROOT / "morpho_assets").rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {str(file.relative_to(ROOT)) for file in files}


def test_built_twice_it_is_the_same_bytes(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert built(tmp_path_factory).read_bytes() == wheel.read_bytes()


def test_it_says_what_it_runs_with(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        bill = json.loads(archive.read("morpho_assets/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert {"dagster", "torch", "duckdb"} <= {each["name"] for each in bill["components"]}


def test_an_empty_folder_becomes_a_demo_without_the_repository(environment: Path, tmp_path: Path) -> None:
    written = morpho(environment, tmp_path, "init")
    assert written.splitlines()[-1] == "next: morpho demo"
    told = morpho(environment, tmp_path, "demo", "--size", "tiny")
    assert f"Report:   {tmp_path}/data/reports/demo/report.html" in told
    assert told.count("┌") == 3
    assert (tmp_path / "data/reports/demo/report.html").stat().st_size > 100_000
    plates = morpho(environment, tmp_path, "sql", "SELECT count(DISTINCT Metadata_Plate) AS plates FROM wells")
    assert "2" in plates
    # Only what Dagster and the demo write, and nothing beside them.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dagster.yaml", "data", "morpho.yaml"]


def test_it_runs_from_the_environment_alone(environment: Path, tmp_path: Path) -> None:
    code = "from importlib.util import find_spec as f; print(f('morpho_assets').origin, f('pytest'), f('moto'))"
    told = subprocess.run(
        [environment / "bin/python", "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert Path(told[0]).is_relative_to(environment)
    assert told[1:] == ["None", "None"]
