"""Whether every pin is a wheel, on every Python and platform that the README names: `make check-pins`.

    python -m benchmarks.pins [--where-reachable] [--wait SECONDS]

pip is asked, per Python and platform, for a dry run of the lines of constraints.txt and constraints-dev.txt that hold
there, wheels alone, as install.py installs them. From what it reports of each wheel's requirements the pins are then
checked to be complete and to fit each other: pip evaluates markers for the Python that runs it, so this does it itself.
torch's CUDA libraries come from torch's own index or with it, and are not pinned.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from benchmarks.figures import Figures
from install import Unfit, check_index

ROOT = Path(__file__).resolve().parent.parent
FILES = ("constraints.txt", "constraints-dev.txt")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ABOUT = (
    "pip is asked for a dry run of every pin of `constraints.txt` and `constraints-dev.txt`, wheels alone, per Python "
    "and platform; then whether the pins are complete and fit each other, from what each wheel asks for. torch's CUDA "
    "libraries come with it and are not pinned."
)
OUTSIDE = {
    ("cellpose", "numpy"): "cellpose 3 asks for numpy below 2.1: its tests pass with the pinned one",
    ("dagster", "watchdog"): "dagster asks for watchdog below 7, which has no wheel for Python 3.14 on macOS",
}
"""Pins that lie outside what a package asks for, by (package, requirement), with why."""
_TORCH_BRINGS = re.compile(r"(nvidia|cuda)-.*|triton")
_ABSENT = re.compile(r"No matching distribution found for ([\w.-]+)==")


@dataclass(frozen=True)
class Target:
    """A Python on a platform; `tags` are those of the wheels that run there."""

    python: str
    name: str
    system: str
    machine: str
    tags: tuple[str, ...]

    def environment(self, extra: str = "") -> dict[str, str]:
        """What markers are evaluated against there."""
        here = {key: str(value) for key, value in default_environment().items()}
        return here | {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": self.system.lower(),
            "platform_system": self.system,
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "os_name": "posix",
            "extra": extra,
        }


def _manylinux(machine: str) -> tuple[str, ...]:
    older = [f"manylinux_2_{minor}_{machine}" for minor in range(28, 16, -1)]
    return (*older, f"manylinux2014_{machine}", f"linux_{machine}")


_PLATFORMS = (
    ("x86-64 Linux", "Linux", "x86_64", _manylinux("x86_64")),
    ("arm64 Linux", "Linux", "aarch64", _manylinux("aarch64")),
    (
        "arm64 macOS",
        "Darwin",
        "arm64",
        tuple(f"macosx_{major}_0_{kind}" for major in (14, 13, 12, 11) for kind in ("arm64", "universal2"))
        + tuple(f"macosx_10_{minor}_universal2" for minor in range(16, 8, -1)),
    ),
)
PLATFORM_NAMES = ", ".join(name for name, *_ in _PLATFORMS)
TARGETS = tuple(Target(python, *platform) for python in PYTHONS for platform in _PLATFORMS)


@dataclass(frozen=True)
class Answer:
    """Of one target: how many pins hold there, which have no wheel, and (who, what, in words) of what does not fit."""

    target: Target
    pins: int
    missing: list[str]
    misfits: list[tuple[str, str, str]]

    @property
    def wrong(self) -> list[str]:
        """The misfits that have no reason in `OUTSIDE`, in words."""
        return [words for who, name, words in self.misfits if (who, name) not in OUTSIDE]

    def __str__(self) -> str:
        told = [f"no wheel of {pin}" for pin in self.missing] + self.wrong
        return f"{self.pins} pins" + (f"; {'; '.join(told)}" if told else ", all wheels")


def pinned(lines: Iterable[str], target: Target) -> dict[str, Requirement]:
    """The pins that hold on a target, by canonical name. Raises ValueError for what is no pin, or is there twice."""
    pins: dict[str, Requirement] = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        pin = Requirement(text)
        if [each.operator for each in pin.specifier] != ["=="]:
            raise ValueError(f"{text}: found no exact version; expected NAME==VERSION")
        if pin.marker is None or pin.marker.evaluate(target.environment()):
            name = canonicalize_name(pin.name)
            if name in pins:
                raise ValueError(f"{text}: pinned twice on Python {target.python}, {target.name}")
            pins[name] = pin
    return pins


def version_of(pin: Requirement) -> str:
    """`1.2` of `name==1.2`."""
    return next(iter(pin.specifier)).version


def misfits(
    required: Iterable[Requirement], metadata: Mapping[str, Mapping[str, Any]], pins: Mapping[str, Requirement],
    target: Target,
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """What the pins lack or contradict: (who asks, canonical name asked for, in words).

    `required` is what the project asks for; `metadata` of each pinned wheel by canonical name, as pip reports it
    (`requires_dist`).
    """
    waiting = [("morpho-assets", each, "") for each in required]
    seen: set[tuple[str, str]] = set()
    while waiting:
        asker, need, extra = waiting.pop()
        if need.marker is not None and not need.marker.evaluate(target.environment(extra)):
            continue
        name = canonicalize_name(need.name)
        if name not in pins:
            if not (asker == "torch" and _TORCH_BRINGS.fullmatch(name)):
                yield asker, name, f"{asker} needs {name}, which is not pinned"
            continue
        version = version_of(pins[name])
        if not need.specifier.contains(version, prereleases=True):
            yield asker, name, f"{asker} asks for {name}{need.specifier}, and {version} is pinned"
        for chosen in ("", *need.extras):
            if (name, chosen) not in seen and name in metadata:
                seen.add((name, chosen))
                waiting += [(name, Requirement(text), chosen) for text in metadata[name].get("requires_dist", ())]


def ask(target: Target, wanted: Iterable[str], wait: float) -> tuple[list[str], list[dict[str, Any]]]:
    """Ask pip for wheels of `wanted` (NAME==VERSION) on a target: those without one, and pip's report of the others.

    pip stops at the first pin that has no wheel: it is left out and pip is asked again. Raises RuntimeError with pip's
    words where it fails for another reason.
    """
    left, missing = list(wanted), list[str]()
    # Where the index does not serve metadata alone, pip reads the ends of the wheels; nothing that it reads is kept.
    # It would install into another folder, so what is installed here has no say.
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-deps",
               "--target", "no-such-folder", "--only-binary", ":all:", "--implementation", "cp", "--no-cache-dir",
               "--use-feature", "fast-deps", "--python-version", target.python, "--report", "-",
               *(part for tag in target.tags for part in ("--platform", tag))]  # fmt: skip
    while left:
        try:
            asked = subprocess.run([*command, *left], capture_output=True, text=True, timeout=wait, check=False)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"pip took over {wait:g} s for Python {target.python}, {target.name}") from error
        if asked.returncode == 0:
            return missing, json.loads(asked.stdout)["install"]
        absent = _ABSENT.search(asked.stderr)
        kept = [pin for pin in left if absent is None or not pin.startswith(f"{absent[1]}==")]
        if len(kept) == len(left):
            raise RuntimeError(f"pip gave no answer for Python {target.python}, {target.name}: {asked.stderr[-1000:]}")
        missing += sorted(set(left) - set(kept))
        left = kept
    return missing, []


def runs_anywhere(report: Mapping[str, Any]) -> bool:
    """Whether a wheel of pip's report is for every platform."""
    return str(report["download_info"]["url"]).partition("#")[0].endswith("-none-any.whl")


def allows(metadata: Mapping[str, Any], python: str) -> bool:
    """Whether a wheel's `requires_python` lets a Python such as 3.14 take it."""
    return SpecifierSet(metadata.get("requires_python") or "").contains(f"{python}.9")


def check(lines: Sequence[str], required: Sequence[Requirement], wait: float) -> list[Answer]:
    """What the index has of the pins on every target. A wheel for every platform is asked for once."""
    everywhere: dict[str, dict[str, Any]] = {}
    answers = []
    for target in TARGETS:
        held = pinned(lines, target)
        pins = {name: f"{name}=={version_of(pin)}" for name, pin in held.items()}
        known = {
            name: everywhere[pin]
            for name, pin in pins.items()
            if pin in everywhere and allows(everywhere[pin], target.python)
        }
        missing, reports = ask(target, [pin for name, pin in pins.items() if name not in known], wait)
        found = {canonicalize_name(each["metadata"]["name"]): each["metadata"] for each in reports}
        for each in filter(runs_anywhere, reports):
            everywhere[pins[canonicalize_name(each["metadata"]["name"])]] = each["metadata"]
        answer = Answer(target, len(pins), missing, list(misfits(required, {**known, **found}, held, target)))
        print(f"Python {target.python}, {target.name}: {answer}", flush=True)
        answers.append(answer)
    return answers


def unreachable() -> str | None:
    """Why the index gives no answer, in one sentence; None where it does."""
    try:
        check_index(Path(sys.executable))
    except Unfit as error:
        return str(error)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Ask the index for a wheel of every pin, on every Python and platform."
    )
    parser.add_argument("--wait", type=float, default=900, help="seconds for one platform (default: %(default)s)")
    parser.add_argument(
        "--where-reachable", action="store_true", help="without an index say so and check nothing; the page stays"
    )
    options = parser.parse_args()
    if options.where_reachable and (reason := unreachable()):
        print(f"check-pins is left out: {reason}")
        return 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked_for = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    required = [Requirement(text) for text in asked_for if not text.startswith(project["name"])]
    lines = [line for name in FILES for line in (ROOT / name).read_text().splitlines()]
    try:
        answers = check(lines, required, options.wait)
    except RuntimeError:
        if options.where_reachable and (reason := unreachable()):
            print(f"check-pins was broken off: {reason}")
            return 0
        raise
    missing = sum(len(answer.missing) for answer in answers)
    wrong = sum(len(answer.wrong) for answer in answers)
    figures = Figures("pins", ABOUT)
    figures.add("missing_wheels", missing, "wheels", "over all Pythons and platforms", at_most=0)
    figures.add("misfits", wrong, "pins", "not pinned, or outside what a package asks for without a reason", at_most=0)
    figures.add("wheels", sum(answer.pins - len(answer.missing) for answer in answers), "wheels")
    figures.add("targets", len(answers), "Pythons and platforms", f"{', '.join(PYTHONS)}; {PLATFORM_NAMES}")
    if options.where_reachable:
        return 1 if missing or wrong else 0
    reasons = [f"- `{who}` and `{name}`: {why}." for (who, name), why in OUTSIDE.items()]
    figures.publish("\n".join(["Outside what a package asks for, with reasons:", "", *reasons]), "make check-pins")
    return 1 if missing or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
