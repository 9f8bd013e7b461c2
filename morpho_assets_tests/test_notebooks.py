"""The notebooks in docs/notebooks: each runs on the demo from first cell to last, and is kept without outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from morpho_assets_tests.project import ROOT, Project

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
of_each = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def test_there_are_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["plate_to_cells"]


@of_each
def test_a_notebook_is_valid_and_kept_without_outputs(file: Path) -> None:
    book: Any = nbformat.read(file, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []
    assert file.stat().st_size < 20_000


@pytest.mark.slow
@of_each
def test_a_notebook_runs_on_the_demo(file: Path, demo: tuple[Project, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    for name, value in {"MORPHO_SETTINGS": str(demo[0].folder / "morpho.yaml"), "PYTHONPATH": str(ROOT),
                        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                        "IPYTHONDIR": str(demo[0].folder / "ipython")}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    book: Any = nbformat.read(file, as_version=4)
    resources = {"metadata": {"path": os.fspath(demo[0].folder)}}
    NotebookClient(book, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [each for cell in book.cells if cell.cell_type == "code" for each in cell.outputs]
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(pictures) == 2  # the plate, and the cells of the hit beside those of the controls
