"""What treatments do to cells: twelve parameters, mechanisms as vectors over them, compounds, doses.

A vector's unit is one standard deviation between untreated cells of the same well (`Parameter.spread` says how
much that is); for parameters that are chances, one unit of log odds. `viability` is the log of the cell count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One way in which a treatment changes cells; `spread` is the size of one unit, `acts` what it multiplies."""

    spread: float
    acts: str


PARAMETERS: dict[str, Parameter] = {
    "nuclear_area": Parameter(0.16, "log area of the nucleus"),
    "nuclear_eccentricity": Parameter(0.12, "log ratio of the axes of the nucleus"),
    "chromatin_texture": Parameter(0.25, "log contrast of chromatin in DNA"),
    "viability": Parameter(1.0, "log of the expected number of cells"),
    "cell_area": Parameter(0.18, "log area of the cell"),
    "er_intensity": Parameter(0.15, "log brightness of ER"),
    "nucleoli": Parameter(0.25, "log brightness of nucleoli over the nucleoplasm in RNA"),
    "actin_fibres": Parameter(0.35, "log contrast of actin fibres and rim in AGP"),
    "mito_fragmentation": Parameter(0.8, "log odds of puncta against filaments in Mito"),
    "binucleation": Parameter(1.0, "log odds of a cell with two nuclei"),
    "mitotic_arrest": Parameter(1.0, "log odds of a cell in mitosis"),
    "golgi_dispersal": Parameter(0.8, "log odds of scattered against compact Golgi in AGP"),
}
NAMES = tuple(PARAMETERS)

# Only what a mechanism changes is written; the names say which textbook phenotype each one imitates.
MECHANISMS: dict[str, dict[str, float]] = {
    "aurora_inhibitor": {"nuclear_area": 3.0, "cell_area": 2.0, "binucleation": 2.5, "viability": -0.4},
    "tubulin_destabiliser": {"mitotic_arrest": 3.0, "nuclear_eccentricity": -1.5, "cell_area": -1.5, "viability": -0.3},
    "actin_disruptor": {"actin_fibres": -2.5, "cell_area": -2.5, "nuclear_eccentricity": -1.0},
    "er_stress": {"er_intensity": 3.0, "golgi_dispersal": 1.5, "nucleoli": -0.8},
    "golgi_transport": {"golgi_dispersal": 4.0, "er_intensity": -1.5},
    "mito_uncoupler": {"mito_fragmentation": 4.0, "er_intensity": -1.0, "actin_fibres": 0.8},
    "nucleolar_stress": {"nucleoli": -3.5, "nuclear_area": -1.5, "chromatin_texture": 1.0},
    "hdac_inhibitor": {"chromatin_texture": -2.0, "nuclear_area": 1.5, "cell_area": 2.0, "actin_fibres": 2.0},
    "toxic": {"viability": -1.4},
}
TARGETS = {
    "aurora_inhibitor": ("AURKA", "AURKB"),
    "tubulin_destabiliser": ("TUBB", "TUBA1A"),
    "actin_disruptor": ("ACTB", "ACTG1"),
    "er_stress": ("ATP2A2", "HSPA5"),
    "golgi_transport": ("ARF1", "GBF1"),
    "mito_uncoupler": ("ATP5F1A", "SLC25A4"),
    "nucleolar_stress": ("POLR1A", "POLR1B"),
    "hdac_inhibitor": ("HDAC1", "HDAC3"),
    "toxic": ("ATP1A1", "EEF2"),
    "inactive": ("ADRB2", "HRH1"),
}
# Each scaffold is one chemical series, with `*` where the substituent goes.
SCAFFOLDS = (
    "c1ccc2nc(*)ccc2c1",
    "O=C(N*)c1ccncc1",
    "c1cc(*)c2[nH]ccc2c1",
    "O=c1cc(*)oc2ccccc12",
    "C1CCN(*)CC1",
    "c1csc(*)n1",
    "c1ccc(cc1)-c1ccc(*)cn1",
    "O=S(=O)(N*)c1ccccc1",
    "c1nc2ccccc2n1*",
    "C1COCCN1*",
)
# Ring closures are numbered 8, which no scaffold uses.
SUBSTITUENTS = ("C", "CC", "CCO", "C(C)C", "CCN", "CC(F)(F)F", "CCOC", "C8CC8", "Cc8ccccc8", "CCC#N", "CC(=O)N", "CCCl")


@dataclass(frozen=True)
class Compound:
    """One compound: `effect` is its (12,) float64 vector at a saturating dose, all zero for an inactive one."""

    broad_sample: str
    name: str
    mechanism: str
    scaffold: int
    substituent: str
    smiles: str
    effect: np.ndarray
    half_dose: float
    hill: float
    penetrance: float

    def response(self, dose: float) -> float:
        """Hill response to a dose in micromolar, between 0 and 1; half at `half_dose`."""
        return float(dose**self.hill / (dose**self.hill + self.half_dose**self.hill))


def mechanism_vector(name: str) -> np.ndarray:
    """The (12,) float64 vector of a mechanism, in the order of `NAMES`; zeros for `inactive`."""
    return np.array([MECHANISMS.get(name, {}).get(parameter, 0.0) for parameter in NAMES])


def draw_compound(
    rng: np.random.Generator, number: int, mechanism: str, strength: float, deviation: float, penetrance: float
) -> Compound:
    """Compound `number` of an experiment: its mechanism's vector, plus a part of its own `deviation` times as long.

    The own part is drawn over the parameters that are no chance of a cell state, and is absent where the mechanism
    has no effect on shape or stain: so a toxic compound changes the count and nothing else. Three compounds in four
    carry the scaffold of their mechanism, the fourth any: structure and mechanism go together, but not always.
    """
    base = mechanism_vector(mechanism)
    own = np.zeros(len(NAMES))
    free = [NAMES.index(n) for n in NAMES if n not in ("viability", "binucleation", "mitotic_arrest")]
    own[free] = rng.normal(size=len(free))
    visible = np.delete(base, NAMES.index("viability"))
    own *= deviation * np.linalg.norm(visible) / np.linalg.norm(own)
    home = ([*MECHANISMS, "inactive"].index(mechanism)) % len(SCAFFOLDS)
    scaffold = home if rng.random() < 0.75 else int(rng.integers(len(SCAFFOLDS)))
    substituent = SUBSTITUENTS[number % len(SUBSTITUENTS)] + "C" * (number // len(SUBSTITUENTS))
    smiles = SCAFFOLDS[scaffold].replace("*", substituent)
    return Compound(
        broad_sample=f"BRD-S{number:08d}-001-01-1",
        name=f"{mechanism}-{number}",
        mechanism=mechanism,
        scaffold=scaffold,
        substituent=substituent,
        smiles=smiles,
        effect=strength * (base + own),
        half_dose=float(np.exp(rng.normal(np.log(1.2), 0.3))),
        hill=float(rng.uniform(1.2, 2.0)),
        penetrance=float(np.clip(rng.normal(penetrance, 0.05), 0.0, 1.0)) if penetrance < 1 else 1.0,
    )
