"""Supply chain: what is installed is what was tested, the wheel says what it runs with, and older readers can read."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import audit, hashes, sbom
from benchmarks.hashes import LINUX, lines, marker
from benchmarks.pins import pinned, unreachable, version_of
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.publication import publish
from morpho_assets.workspace import Workspace
from morpho_assets_tests.factories import changed, make_stages
from morpho_assets_tests.project import ROOT


def hashed() -> list[str]:
    """The pins of constraints-hashed.txt, without their hashes."""
    text = hashes.FILE.read_text().replace("\\\n", " ")
    return [line.partition("--hash")[0].strip() for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("target", LINUX, ids=lambda target: f"{target.python} {target.machine}")
def test_every_pin_has_its_hashes_on_linux(target) -> None:
    wanted = pinned((ROOT / "constraints.txt").read_text().splitlines(), target)
    found = pinned(hashed(), target)
    assert {name: version_of(pin) for name, pin in found.items() if name in wanted} == {
        name: version_of(pin) for name, pin in wanted.items()
    }, "run make hashes"
    besides = found.keys() - wanted.keys()
    assert all(re.fullmatch(r"(nvidia|cuda)-.*|triton", name) for name in besides), besides  # what torch brings


def test_every_line_of_the_file_has_a_hash() -> None:
    entries = hashes.FILE.read_text().replace("\\\n", " ").splitlines()
    for entry in entries:
        assert entry.startswith("#") or re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry


def test_a_marker_holds_on_its_targets_and_on_no_other() -> None:
    from packaging.markers import Marker

    for chosen in (LINUX[:1], LINUX[::2], LINUX[2:5], [t for t in LINUX if t.machine == "aarch64"], LINUX[3:]):
        written = Marker(marker(chosen))
        assert [t for t in LINUX if written.evaluate(t.environment())] == list(chosen)
    assert marker(LINUX) == ""


def test_wheels_of_one_pin_are_one_entry() -> None:
    one, two = LINUX[:2]
    found = {one: {("a", "1"): "f" * 64, ("b", "2"): "0" * 64}, two: {("a", "1"): "e" * 64}}
    entries = lines(found)
    assert len(entries) == 2
    assert entries[0].count("--hash=sha256:") == 2


def test_the_bill_of_materials_is_that_of_the_pins_and_weights() -> None:
    assert sbom.FILE.read_text() == sbom.text(), "run python -m benchmarks.sbom"
    bill = json.loads(sbom.FILE.read_text())
    refs = [each["bom-ref"] for each in bill["components"]]
    assert len(set(refs)) == len(refs) > 100
    assert bill["dependencies"][0]["dependsOn"] == refs
    weights = {each["name"]: each["hashes"] for each in bill["components"] if each["type"] == "machine-learning-model"}
    there = [file for end in ("pt", "safetensors") for file in (ROOT / "morpho_assets").rglob(f"*.{end}")]
    assert len(weights) == len(there) > 0
    for file in there:
        [entry] = weights[str(file.relative_to(ROOT))]
        assert entry["content"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_audit_that_cannot_ask_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: None)
    assert audit.main() == 0
    assert "left out of the audit: everything, for pip-audit is not installed" in capsys.readouterr().out


BAD = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
GOOD = {"name": "b", "version": "1", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}
ANSWERS = {
    "an advisory": ([BAD, GOOD], 1, "a 1: CVE-1, mended in 2\n"),
    "none": ([GOOD], 0, ""),
    "a mirror without advisories": (
        [UNKNOWN], 0, "left out of the audit: everything, for the index has packages and no advisories\n"),
    "a package that the index does not know": (
        [GOOD, UNKNOWN], 0, "left out of the audit: 1 of 2 pins, such as c, of which the index knows nothing\n"),
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_audit_tells_what_advisories_say_and_of_what_they_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    packages, status, told = ANSWERS[answer]
    given = subprocess.CompletedProcess([], 1, json.dumps({"dependencies": packages}), "")
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: given)
    assert audit.main() == status
    assert capsys.readouterr().out == told


READ = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    tables = [name for (name,) in connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'").fetchall()]
    for name in tables:
        connection.execute(f'SELECT * FROM "{name}" LIMIT 3').fetchall()
    wells = connection.execute("SELECT count(*) FROM wells").fetchone()[0]
print(duckdb.__version__, len(tables), wells)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.5.6", "installed"])
@pytest.mark.usefixtures("quick_stages")
def test_the_catalog_opens_in_duckdb_1_5_and_2(workspace: Workspace, tmp_path: Path, version: str) -> None:
    """Each in a Python that has that version and none of ours."""
    workspace = changed(workspace, catalog=str(tmp_path / "catalog.duckdb"))
    make_stages(workspace)
    publish(workspace)
    [(wells,)] = query_catalog(workspace.settings.catalog, "SELECT count(*) FROM wells", workspace.lake).iter_rows()
    assert wells > 0
    path = tmp_path / "duckdb"
    if version == "installed":
        import duckdb

        path = Path(duckdb.__file__).parent.parent
    elif reason := unreachable():
        pytest.skip(f"DuckDB {version} cannot be fetched: {reason}")
    else:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(path),
                        f"duckdb=={version}"], check=True)  # fmt: skip
    code = f"import sys; sys.path.insert(0, {str(path)!r})\n" + READ
    read = subprocess.run([sys.executable, "-I", "-S", "-c", code, workspace.settings.catalog], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert read.returncode == 0, read.stderr
    found, tables, counted = read.stdout.split()
    assert found == version or (version == "installed" and found.startswith("2."))
    assert int(tables) > 30
    assert int(counted) == wells
