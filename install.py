"""An environment with the pinned packages: `python3 install.py`, which is what every `make` command does first.

    python3 install.py [--environment .venv] [--tests]

What would end in an error minutes later is told at once, in one sentence: an interpreter that has no wheels, a Python
without venv, a disk that is too small, an index that does not answer. A run that ended early is taken up by the
next. Only the standard library is used; Python 3.7 can read the file, and is then told that it is too old.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.request import getproxies

ROOT = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 11), (3, 14)
GIGABYTE = 1e9
# Gigabytes: the environment as it ends, and what pip holds besides while it works (docs/benchmarks.md, install).
NEEDS = {"cpu": (2.5, 1.5), "cuda": (7.0, 4.5)}
CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"
AGAIN = "Run the same command again when that is mended: it goes on from there."


class Unfit(Exception):
    """What is in the way of an installation, in one sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Install; a sentence and exit status 1 for what is in the way, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(description="Install morpho-assets and what it needs, exactly pinned.")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv", help="its folder (default: %(default)s)")
    parser.add_argument("--tests", action="store_true", help="also what tests and checks need")
    options = parser.parse_args(arguments)
    try:
        install(options.environment.absolute(), options.tests, os.environ.get("TORCH_INDEX", ""))
    except Unfit as error:
        print(f"morpho-assets: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("morpho-assets: cancelled. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def install(environment: Path, tests: bool, torch_index: str) -> None:
    """Make the environment, or complete it: torch with what it brings, every pin as it stands, then this package."""
    check_interpreter(sys.version_info[:2], bool(sysconfig.get_config_var("Py_GIL_DISABLED")))
    check_platform(sys.platform, platform.machine(), platform.libc_ver())
    python = environment / "bin" / "python"
    if not _runs(python, "import pip"):
        check_venv({name for name in ("venv", "ensurepip") if importlib.util.find_spec(name)})
        check_disk(environment.parent, Path(tempfile.gettempdir()), "cpu")
        print(f"making {environment} with Python {platform.python_version()}", flush=True)
        _make(environment)
    check_index(python)
    forget_half_installed(environment)
    torch = [*shlex.split(torch_index), "--constraint", str(ROOT / "constraints.txt"), "torch"]
    if not _runs(python, "import torch"):
        build = which_torch(packages_of(python, torch))
        check_disk(environment.parent, Path(tempfile.gettempdir()), build)
        about = {"cpu": "0.2 GB", "cuda": "3 GB"}[build]
        print(f"installing torch ({about} to fetch), then the other packages (0.6 GB): some minutes", flush=True)
    pins = ["--requirement", str(ROOT / "constraints.txt")]
    if tests:
        pins += ["--requirement", str(ROOT / "constraints-dev.txt")]
    _pip(python, *torch)
    # The pins are everything and fit each other, tested; two of them lie outside what another package asks for.
    _pip(python, "--no-deps", "--only-binary", ":all:", *pins)
    _pip(python, "--no-deps", "--editable", str(ROOT))


def check_interpreter(version: tuple[int, int], free_threaded: bool) -> None:
    """Raise Unfit for a Python for which there are no wheels."""
    if not OLDEST <= version <= NEWEST or free_threaded:
        found = f"Python {version[0]}.{version[1]}{' without the GIL' if free_threaded else ''}"
        raise Unfit(
            f"{sys.executable} is {found}, and Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]} is needed: "
            "name one, as in `make demo PYTHON=/path/to/python3.12`."
        )


def check_platform(system: str, machine: str, libc: tuple[str, str]) -> None:
    """Raise Unfit for a system for which there are no wheels. `libc` as `platform.libc_ver()` gives it."""
    needed = "x86-64 or arm64 Linux with glibc 2.28 or newer, or macOS 14 or newer on arm64, is needed"
    if system == "linux" and machine in ("x86_64", "aarch64"):
        name, version = libc
        if name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 28):
            found = f"{name} {version}" if name else "another C library than glibc (Alpine's musl?)"
            raise Unfit(f"this Linux has {found}, for which torch has no wheels: {needed}.")
    elif (system, machine) != ("darwin", "arm64"):
        raise Unfit(f"torch has no wheels for {system} on {machine}: {needed}.")


def check_venv(modules: set[str]) -> None:
    """Raise Unfit where `modules`, those of venv and ensurepip that this Python has, are not both."""
    if modules != {"venv", "ensurepip"}:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise Unfit(
            f"{sys.executable} cannot make environments with pip: install its venv package "
            f"(Debian and Ubuntu: apt install python{version}-venv)."
        )


def packages_of(python: Path, requested: list[str]) -> list[str] | None:
    """Names of all that `pip install` of these arguments would bring; None where pip cannot say."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run",
               "--ignore-installed", "--report", "-", *requested]  # fmt: skip
    found = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if found.returncode:
        return None
    return [str(each["metadata"]["name"]) for each in json.loads(found.stdout)["install"]]


def which_torch(packages: list[str] | None) -> str:
    """`cuda` where NVIDIA's libraries are among the packages that torch brings, or nobody knows; else `cpu`."""
    if packages is None:
        return "cuda"
    return "cuda" if any(name.lower().startswith("nvidia") for name in packages) else "cpu"


def check_disk(folder: Path, temporary: Path, torch: str) -> None:
    """Raise Unfit where the environment does not fit below `folder`, or what pip holds meanwhile in `temporary`."""
    stays, passes = NEEDS[torch]
    cheaper = f', or TORCH_INDEX="{CPU_INDEX}", which needs {sum(NEEDS["cpu"]):g} GB' if torch == "cuda" else ""
    if os.stat(folder).st_dev == os.stat(temporary).st_dev:
        wanted = [(folder, stays + passes, "")]
    else:
        wanted = [(folder, stays, ""), (temporary, passes, " (TMPDIR names another)")]
    for place, gigabytes, remark in wanted:
        free = shutil.disk_usage(place).free / GIGABYTE
        if free < gigabytes:
            raise Unfit(f"{place}{remark} has {free:.1f} GB free and {gigabytes:g} GB are needed: make room{cheaper}.")


def check_index(python: Path) -> None:
    """Raise Unfit where pip gets no answer from its index, with what may be the reason."""
    pin = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("six=="))
    command = [str(python), "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", "--no-cache-dir"]
    command += ["--retries", "1", "--timeout", "10", "--only-binary", ":all:", "--disable-pip-version-check", pin]
    # The reason is in what pip says of a second try.
    asked = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment())
    if asked.returncode:
        ours = {"https": os.environ["PIP_PROXY"]} if "PIP_PROXY" in os.environ else {}
        raise Unfit(why_no_answer(asked.stdout, {**getproxies(), **ours}))


def why_no_answer(output: str, proxies: Mapping[str, str]) -> str:
    """The sentence for what pip printed when its index gave no answer; `proxies` as the environment names them."""
    words = output.lower()
    proxy = proxies.get("https") or proxies.get("all") or proxies.get("http")
    if "proxy" in words or "407" in words or (proxy and "connect" in words):
        which = proxy or "that pip is told of"
        return (
            f"the package index cannot be reached through the proxy {which}: correct HTTPS_PROXY (or "
            f"`pip config set global.proxy …`), or unset it. {AGAIN}"
        )
    if "certificate" in words or "sslerror" in words:
        return f"the package index's certificate is not trusted: set PIP_CERT to your network's certificates. {AGAIN}"
    if "404" in words or ("no matching distribution" in words and "connection" not in words):
        return f"the package index answers and has none of the packages: PIP_INDEX_URL names the one to ask. {AGAIN}"
    return (
        "the package index cannot be reached: set HTTPS_PROXY where a proxy is needed, or PIP_INDEX_URL to an index in "
        f"your network. {AGAIN}"
    )


def forget_half_installed(environment: Path) -> list[str]:
    """Take away the marks of packages that an interrupted pip left half written, so that pip writes them again.

    pip writes INSTALLER last but for replacing RECORD; without it files may be missing. Gives the names taken away.
    """
    half = [
        folder
        for folder in environment.glob("lib/python*/site-packages/*.dist-info")
        if not (folder / "INSTALLER").exists()
    ]
    for folder in half:
        shutil.rmtree(folder)
    return sorted(folder.name for folder in half)


def _make(environment: Path) -> None:
    """An environment with pip: the folder is taken up where it runs, and made anew where its Python is gone."""
    command = [sys.executable, "-m", "venv", str(environment)]
    if environment.exists() and not _runs(environment / "bin" / "python", ""):
        command.insert(3, "--clear")
    if subprocess.run(command).returncode:
        raise Unfit(f"`{' '.join(command)}` failed, see above. {AGAIN}")


def _runs(python: Path, code: str) -> bool:
    try:
        return (
            subprocess.run([str(python), "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
            == 0
        )
    except OSError:
        return False


def _pip(python: Path, *arguments: str) -> None:
    """`pip install`, twice where the first try fails: most failures are the network's, and what was fetched is kept."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    for _ in range(2):
        if subprocess.run(command, env=_environment()).returncode == 0:
            return
    raise Unfit(f"pip failed twice, see above. {AGAIN}")


def _environment() -> dict[str, str]:
    """Ours, without what would send packages elsewhere than into the environment."""
    return {key: value for key, value in os.environ.items() if key not in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX")}


if __name__ == "__main__":
    sys.exit(main())
