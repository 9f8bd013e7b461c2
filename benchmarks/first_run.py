"""A first run, timed: `make demo` in a copy of the repository where nothing is installed yet.

    python -m benchmarks.first_run [--python PATH ...] [--size tiny]

For each interpreter: seconds until everything is installed and until the demo has answered its questions, and what
lies on the disk afterwards. What is kept of other Pythons stays in the table, so that each can be run where it is.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import PAGE, Figures

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("morpho_assets", "Makefile", "install.py", "constraints.txt", "constraints-dev.txt", "pyproject.toml",
          "README.md", "LICENSE", "morpho.yaml", "dagster.yaml", "workspace.yaml")  # fmt: skip
ABOUT = (
    "`make demo` in a fresh copy of the repository, with pip's own cache empty: seconds until everything is installed, "
    "and then until the gallery is made, every stage has run and the questions are answered; and what is on the disk."
)


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; its wall and processor seconds. What it prints is shown where it fails, which ends this."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, processor


def gigabytes(folder: Path) -> float:
    """What the files of a folder take; a file with two names counts once."""
    files = {(status.st_dev, status.st_ino): status.st_blocks * 512
             for file in folder.rglob("*") for status in [file.lstat()]}  # fmt: skip
    return sum(files.values()) / 1e9


def first_run(figures: Figures, python: str, size: str, torch_index: str) -> str:
    """Time one interpreter; its version, such as 3.12.1."""
    version = subprocess.run([python, "-c", "import platform; print(platform.python_version())"],
                             capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="first-run-") as name:
        folder = Path(name) / "clone"
        folder.mkdir()
        for each in COPIED:
            copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
            copy(ROOT / each, folder / each)
        for left in folder.rglob("__pycache__"):
            shutil.rmtree(left)
        ours = ("PYTHON", "MORPHO_", "DAGSTER_", "NUMBA_", "VIRTUAL_ENV", "MAKE", "OMP_")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        environment |= {"PIP_CACHE_DIR": f"{name}/cache", "TORCH_INDEX": torch_index}
        busy = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
        wall, processor = timed(["make", ".venv/run", f"PYTHON={python}"], folder, environment)
        short = ".".join(version.split(".")[:2])
        figures.add(f"{short}.install", wall, "s", f"{processor:.0f} s of processor; {busy}")
        torch = folder / ".venv/lib" / f"python{short}" / "site-packages/torch/version.py"
        cuda = "without CUDA" if re.search(r"cuda.* = None", torch.read_text()) else "with CUDA"
        figures.add(f"{short}.environment", gigabytes(folder / ".venv"), "GB", f"Python {version}, torch {cuda}")
        busy = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
        wall, processor = timed([".venv/bin/morpho", "demo", "--size", size], folder, environment)
        figures.add(f"{short}.demo", wall, "s", f"size {size}; {processor:.0f} s of processor; {busy}")
        wall, processor = timed([".venv/bin/morpho", "demo", "--size", size], folder, environment)
        figures.add(f"{short}.again", wall, "s", f"up to date; {processor:.0f} s of processor")
        figures.add(f"{short}.data", gigabytes(folder / "data"), "GB", f"size {size}")
    return short


def kept(runs: set[str]) -> list[tuple[str, float, str, str]]:
    """The rows of the page for Pythons that were not run now."""
    row = re.compile(r"^\| `(first_run\.(\d+\.\d+)\.\w+)` \| (\S+) \| (\S+) \| (.*) \|$", re.MULTILINE)
    return [(name, float(value), unit, note) for name, python, value, unit, note in row.findall(PAGE.read_text())
            if python not in runs]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a first run.")
    parser.add_argument("--python", action="append", default=[], help="an interpreter; may be repeated")
    parser.add_argument("--size", default="demo", help="of the gallery (default: %(default)s)")
    options = parser.parse_args()
    figures = Figures("first_run", ABOUT)
    pythons = options.python or [getattr(sys, "_base_executable", sys.executable)]
    runs = {first_run(figures, python, options.size, os.environ.get("TORCH_INDEX", "")) for python in pythons}
    figures.rows.extend(kept(runs))
    figures.rows.sort(key=lambda row: [int(part) for part in row[0].split(".")[1:3]])
    figures.publish()


if __name__ == "__main__":
    main()
