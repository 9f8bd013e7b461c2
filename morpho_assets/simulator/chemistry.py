"""Structures of a simulated library: a scaffold, which says nothing, and substituents, of which some make active.

A hundred scaffolds (two rings and what links them) are drawn for every compound whatever else it does, so that a split
by scaffold can be learned through: the substituents that matter occur on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A ring with the place of a substituent `*` and of the link `~`; ring closures 1 and 2 are its own.
FIRST = ("c1ccc(*)cc1~", "c1cc(*)ncc1~", "c1nnc(*)cc1~", "c1csc(*)c1~", "c1cc(*)oc1~", "C1CCN(*)CC1~", "C1CN(*)CCN1~",
         "c1ccc2[nH]c(*)cc2c1~", "c1ccc2nc(*)ccc2c1~", "C1CCC(*)CC1~")  # fmt: skip
SECOND = ("~c3ccc(*)cc3", "~c3cnc(*)nc3", "~C3CCC(*)C3", "~c3cc(*)[nH]n3", "~c3nc(*)cs3")
LINKS = ("C", "")
PLAIN = ("C", "CC", "C(C)C", "CO", "CCO", "CCC", "CC(C)C", "COC", "CCOC", "C(C)CC", "CCCC", "F", "CF")
"""Substituents without a say."""
ACTIVE = {"C#N": 1.5, "S(=O)(=O)N": 1.5, "C(F)(F)F": 1.2, "C(=O)NC": 1.2, "CCl": 0.8}
"""Substituents that make active, by how much."""
SCAFFOLDS = tuple(first + link + second for first in FIRST for link in LINKS for second in SECOND)


@dataclass(frozen=True)
class Structure:
    """One compound's: the number of its scaffold, its SMILES, and `pull`, the sum of what its substituents do."""

    scaffold: int
    smiles: str
    pull: float


def draw_structure(rng: np.random.Generator, share: float = 0.35) -> Structure:
    """A scaffold, any of the hundred, with two substituents, each an active one with a chance of `share`."""
    scaffold = int(rng.integers(len(SCAFFOLDS)))
    groups = [str(rng.choice(list(ACTIVE) if rng.random() < share else list(PLAIN))) for _ in range(2)]
    return Structure(scaffold, structure_smiles(scaffold, groups), sum(ACTIVE.get(group, 0.0) for group in groups))


def structure_smiles(scaffold: int, groups: list[str]) -> str:
    """The SMILES of a scaffold with its two substituents."""
    first, link, second = SCAFFOLDS[scaffold].split("~")
    return f"{_filled(first, groups[0])}{link}{_filled(second, groups[1])}"


def _filled(ring: str, group: str) -> str:
    return ring.replace("*", group)
