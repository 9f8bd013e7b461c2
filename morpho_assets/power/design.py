"""A design: how many replicates and controls there are, on how many plates, and where on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from morpho_assets.errors import InputError

Places = npt.NDArray[np.int64]
SHAPES = {96: (8, 12), 384: (16, 24), 1536: (32, 48)}
"""Rows and columns of a plate by its number of wells."""


@dataclass(frozen=True)
class Plate:
    """A plate of `wells` wells, with controls in its outer `columns` or `scattered` over it."""

    wells: int = 384
    controls_in: Literal["columns", "scattered"] = "scattered"

    def __post_init__(self) -> None:
        if self.wells not in SHAPES:
            raise InputError("morpho design", "wells", str(self.wells), f"one of {', '.join(map(str, SHAPES))}",
                             "Name the format of the plate.")  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return SHAPES[self.wells]

    def places(self, controls: int, treated: int, rng: np.random.Generator) -> tuple[Places, Places]:
        """The places (row * columns + column, from 0) of that many controls and treated wells. Controls in columns fill
        the first and the last column, then the next ones inwards, alternating; everything else is at random."""
        rows, columns = self.shape
        if self.controls_in == "scattered":
            places = rng.permutation(self.wells)
            return places[:controls], places[controls : controls + treated]
        inwards = np.ravel(list(zip(range(columns // 2), range(columns - 1, columns // 2 - 1, -1), strict=True)))
        order = np.arange(rows)[:, None] * columns + inwards
        outer = order.T.reshape(-1, 2, rows).transpose(0, 2, 1).ravel()  # down both outer columns side by side
        return outer[:controls], rng.permutation(outer[controls:])[:treated]


@dataclass(frozen=True)
class Design:
    """`replicates` wells of a treatment over `plates` plates, as evenly as can be, with `controls` negative controls on
    each plate."""

    replicates: int
    controls: int
    plates: int

    @property
    def on_each(self) -> tuple[int, ...]:
        """Wells of a treatment on each of its plates."""
        return tuple(len(part) for part in np.array_split(np.arange(self.replicates), self.plates))

    def cost(self, plate: Plate) -> float:
        """Wells that a treatment takes, its share of the controls among them."""
        return self.replicates / (1 - self.controls / plate.wells)

    def treatments(self, plate: Plate) -> int:
        """Treatments that fit on its plates beside the controls."""
        return (plate.wells - self.controls) // max(self.on_each)

    @property
    def where(self) -> str:
        """Where replicates lie, in words."""
        if self.plates == 1:
            return "on one plate"
        return "on different plates" if self.plates == self.replicates else f"on {self.plates} plates"

    @property
    def text(self) -> str:
        return f"{self.controls} controls a plate and {self.replicates} replicates {self.where}"

    @classmethod
    def grid(cls, replicates: Sequence[int], controls: Sequence[int], over: Sequence[str], plate: Plate) -> list[Self]:
        """Every combination; `over` are numbers of plates, or `all` for each replicate on its own. Combinations with
        more plates than replicates are left out. InputError for one that is no design."""
        few = [number for number in replicates if number < 2]
        if few:
            raise InputError("morpho design", "replicates", str(few[0]), "2 or more",
                             "A single well has no partner that retrieval could find.")  # fmt: skip
        wrong = [number for number in controls if not 2 <= number < plate.wells]
        if wrong:
            raise InputError("morpho design", "controls", str(wrong[0]), f"2 to {plate.wells - 1} on a plate",
                             "Each plate is brought to the scale of its own controls.")  # fmt: skip
        numbers = [name for name in over if name != "all" and not (name.isdecimal() and int(name) > 0)]
        if numbers:
            raise InputError("morpho design", "over", repr(numbers[0]), "a number of plates, or all", "Correct it.")
        found = {
            cls(each, number, each if name == "all" else int(name))
            for name, number, each in product(over, controls, replicates)
            if name == "all" or int(name) <= each
        }
        if not found:
            raise InputError("morpho design", "over", ", ".join(over), f"at most {max(replicates)} plates",
                             "A treatment has no more plates than replicates.")  # fmt: skip
        return sorted(
            found, key=lambda design: (-design.plates / design.replicates, design.controls, design.replicates)
        )
