"""Kinds of input as people have them on disk, each with what must come of it: tests, a benchmark and docs/inputs.md.

A case is a function in a module `*_cases.py` of this folder that raises AssertionError where the outcome is another.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from morpho_assets.errors import ImageError, InputError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One kind of input: `area` groups it, `what` and `outcome` are its row of the table; `run` gets an empty folder.

    `data` says that it reads the folder of reference data.
    """

    area: str
    what: str
    outcome: str
    run: Callable[[Path], None]
    data: bool = False

    @property
    def name(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", f"{self.area} {self.what}").strip("-")


CASES: list[Case] = []


def case(area: str, what: str, outcome: str = "read", data: bool = False) -> Callable[[Callable[[Path], None]], None]:
    """Enter a function as a case."""

    def enter(run: Callable[[Path], None]) -> None:
        CASES.append(Case(area, what, outcome, run, data))

    return enter


def refused(message: str) -> object:
    """The error of ours that says `message`, and after it what to do."""
    return pytest.raises((InputError, ImageError), match=re.escape(message))


def all_cases() -> list[Case]:
    """The cases of every module of this folder, those of an area together, in the order of their modules."""
    for file in sorted(HERE.glob("*_cases.py")):
        if not file.name.startswith("test_"):
            importlib.import_module(f"{__package__}.{file.stem}")
    areas = list(dict.fromkeys(each.area for each in CASES))
    return sorted(CASES, key=lambda each: areas.index(each.area))
