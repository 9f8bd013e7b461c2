"""Every pin with the sha256 of its wheels, for an installation that takes nothing else: `make hashes`.

pip is asked, per Python and Linux platform, for a dry run of constraints.txt as `benchmarks.pins` asks it, and for what
torch brings besides. constraints-hashed.txt has one line per pin, for x86-64 and arm64 Linux and Python 3.11 to 3.14:

    pip install --require-hashes --no-deps --only-binary :all: --requirement constraints-hashed.txt
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from benchmarks.pins import _TORCH_BRINGS, ROOT, TARGETS, Target, ask, pinned, unreachable, version_of

FILE = ROOT / "constraints-hashed.txt"
HEAD = """\
# Every pin of constraints.txt, and what torch brings on Linux, with the sha256 of each wheel: x86-64 and arm64 Linux,
# Python 3.11 to 3.14. Made by `make hashes`. Installed so, nothing that was changed since can get in:
# pip install --require-hashes --no-deps --only-binary :all: --requirement constraints-hashed.txt
"""
LINUX = tuple(target for target in TARGETS if target.system == "Linux")


def hashes_of(report: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """The sha256 of each wheel of pip's report, by canonical name and version."""
    found = {}
    for each in report:
        name, version = canonicalize_name(each["metadata"]["name"]), each["metadata"]["version"]
        found[name, version] = each["download_info"]["archive_info"]["hashes"]["sha256"]
    return found


def marker(targets: Sequence[Target]) -> str:
    """A marker that holds on these targets of LINUX and on no other; empty for all of them."""
    if set(targets) == set(LINUX):
        return ""
    by_machine: dict[str, set[str]] = {}
    for target in targets:
        by_machine.setdefault(target.machine, set()).add(target.python)
    every = {target.python for target in LINUX}
    parts = []
    if len(by_machine) == 2 and len({frozenset(pythons) for pythons in by_machine.values()}) == 1:
        return _pythons(next(iter(by_machine.values())))
    for machine, pythons in sorted(by_machine.items()):
        here = f'platform_machine == "{machine}"'
        parts.append(here if pythons == every else f"({here} and ({_pythons(pythons)}))")
    return " or ".join(parts)


def _pythons(pythons: Iterable[str]) -> str:
    return " or ".join(f'python_version == "{python}"' for python in sorted(pythons))


def lines(found: Mapping[Target, Mapping[tuple[str, str], str]]) -> list[str]:
    """One entry per package and version, with the hashes of all its wheels."""
    places: dict[tuple[str, str], list[Target]] = {}
    hashes: dict[tuple[str, str], set[str]] = {}
    for target, wheels in found.items():
        for pin, sha256 in wheels.items():
            places.setdefault(pin, []).append(target)
            hashes.setdefault(pin, set()).add(sha256)
    entries = []
    for (name, version), targets in sorted(places.items()):
        where = marker(targets)
        head = f"{name}=={version}" + (f"; {where}" if where else "")
        entries.append(" \\\n".join([head, *(f"    --hash=sha256:{each}" for each in sorted(hashes[name, version]))]))
    return entries


def torch_brings(target: Target, torch: str, pins: Path, wait: float) -> list[dict[str, Any]]:
    """pip's report of what torch needs on a target that constraints.txt does not pin."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--target",
               "no-such-folder", "--only-binary", ":all:", "--implementation", "cp", "--no-cache-dir", "--use-feature",
               "fast-deps", "--python-version", target.python, "--report", "-", "--constraint", str(pins),
               *(part for tag in target.tags for part in ("--platform", tag)), torch]  # fmt: skip
    asked = subprocess.run(command, capture_output=True, text=True, timeout=wait, check=True)
    return [each for each in json.loads(asked.stdout)["install"]
            if _TORCH_BRINGS.fullmatch(canonicalize_name(each["metadata"]["name"]))]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wait", type=float, default=900, help="seconds for one platform (default: %(default)s)")
    options = parser.parse_args()
    if reason := unreachable():
        print(f"no hashes: {reason}")
        return 1
    # wheels of this machine's own would have hashes that nobody else's index has
    os.environ["PIP_CONFIG_FILE"] = os.devnull
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        os.environ.pop(name, None)
    pins = ROOT / "constraints.txt"
    found: dict[Target, dict[tuple[str, str], str]] = {}
    for target in LINUX:
        held = pinned(pins.read_text().splitlines(), target)
        missing, report = ask(target, [f"{name}=={version_of(pin)}" for name, pin in held.items()], options.wait)
        if missing:
            raise SystemExit(f"Python {target.python}, {target.name}: no wheel of {', '.join(missing)}")
        brought = torch_brings(target, f"torch=={version_of(held['torch'])}", pins, options.wait)
        found[target] = {**hashes_of(report), **hashes_of(brought)}
        print(f"Python {target.python}, {target.name}: {len(found[target])} wheels", flush=True)
    FILE.write_text(HEAD + "\n".join(lines(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
