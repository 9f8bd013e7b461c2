"""The cells of one site: where they are, in what state, and how each differs from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho_assets.simulator.biology import NAMES, PARAMETERS
from morpho_assets.simulator.textures import SIDE, sample, tile

STATES = ("interphase", "mitotic", "apoptotic", "binucleate", "elongated", "large")
INTERPHASE, MITOTIC, APOPTOTIC, BINUCLEATE, ELONGATED, LARGE = range(len(STATES))

# Pixels at scale 1, from the DMSO field of CPJUMP1 (98 nuclei; median nucleus 1137, cell 5048 square pixels).
NUCLEUS_AREA = 1080.0
CELL_AREA = 7600.0  # of a cell alone: neighbours take the rest
NUCLEUS_RATIO = 1.42
BASE_ODDS = {MITOTIC: 0.03, APOPTOTIC: 0.025, BINUCLEATE: 0.025, ELONGATED: 0.06, LARGE: 0.03}
MARGIN = 35.0  # cells centred this far outside the field still reach into it
COLONY = 55.0  # correlation length of colonies
SPACING = 1.12  # least distance of two nuclei, in sums of their mean radii


@dataclass(frozen=True)
class Population:
    """n cells; all (n,) float64 unless said.

    `state` int index into STATES, `responds` bool, `latent` (n, 12) in units of PARAMETERS' spreads, `row` and
    `column` int32 centres in whole pixels (may lie outside the field), `angle` radians, areas in square pixels,
    ratios of axes, `dna` stain relative to G1.
    """

    state: np.ndarray
    responds: np.ndarray
    latent: np.ndarray
    row: np.ndarray
    column: np.ndarray
    angle: np.ndarray
    nucleus_area: np.ndarray
    nucleus_ratio: np.ndarray
    cell_area: np.ndarray
    cell_ratio: np.ndarray
    dna: np.ndarray

    def __len__(self) -> int:
        return len(self.state)

    def value(self, name: str) -> np.ndarray:
        """(n,) the natural size of one parameter: its latent times its spread."""
        return self.latent[:, NAMES.index(name)] * PARAMETERS[name].spread

    def chance(self, name: str, base: float) -> np.ndarray:
        """(n,) the chance that goes with a log-odds parameter, `base` where the latent is 0."""
        return 1 / (1 + (1 - base) / base * np.exp(-self.value(name)))


def draw_population(
    rng: np.random.Generator, expected: float, pixels: int, scale: float, effect: np.ndarray, penetrance: float
) -> Population:
    """Cells of one square site. `expected` nuclei in the field on average; `effect` (12,) of responding cells.

    Natural spreads are one unit each; nuclear and cell area go together (correlation 0.5).
    """
    margin = MARGIN * scale
    n = int(rng.poisson(expected * (1 + 2 * margin / pixels) ** 2))
    latent = rng.normal(size=(n, len(NAMES)))
    nuclear, whole = NAMES.index("nuclear_area"), NAMES.index("cell_area")
    latent[:, whole] = 0.5 * latent[:, nuclear] + np.sqrt(0.75) * latent[:, whole]
    chances = [NAMES.index(name) for name in ("viability", "binucleation", "mitotic_arrest")]
    latent[:, chances] = 0.0
    responds = rng.random(n) < penetrance
    latent += np.where(responds, rng.lognormal(0.0, 0.15, n), 0.0)[:, None] * effect
    latent[:, NAMES.index("viability")] = 0.0
    state = _draw_states(rng, latent)

    content = _dna_content(rng, n)
    spread = {name: PARAMETERS[name].spread * latent[:, NAMES.index(name)] for name in NAMES}
    size = np.array([1.0, 0.75, 0.42, 0.85, 1.0, 1.7])[state]
    nucleus_area = NUCLEUS_AREA * scale**2 * content**0.5 * np.exp(spread["nuclear_area"]) * size
    nucleus_ratio = np.exp(np.log(NUCLEUS_RATIO) + spread["nuclear_eccentricity"])
    nucleus_ratio = np.clip(nucleus_ratio * np.array([1.0, 1.0, 0.8, 0.85, 1.25, 0.95])[state], 1.02, 2.6)
    spread_out = np.array([1.0, 0.4, 0.12, 1.25, 0.95, 1.8])[state]
    cell_area = CELL_AREA * scale**2 * np.exp(spread["cell_area"]) * spread_out
    cell_ratio = np.exp(np.abs(rng.normal(0.25, 0.25, n))) * np.where(state == ELONGATED, 1.8, 1.0)
    cell_ratio = np.where(np.isin(state, (MITOTIC, APOPTOTIC)), 1.05, cell_ratio)
    row, column, angle = _place(rng, np.sqrt(nucleus_area / np.pi), pixels, scale)
    placed = np.isfinite(row)
    dna = content**0.45 * np.exp(rng.normal(0, 0.12, n))
    pixel = [np.rint(np.where(placed, centre, 0)).astype(np.int32) for centre in (row, column)]
    sizes = (nucleus_area, nucleus_ratio, cell_area, cell_ratio, dna)
    return Population(*(value[placed] for value in (state, responds, latent, *pixel, angle, *sizes)))


def _draw_states(rng: np.random.Generator, latent: np.ndarray) -> np.ndarray:
    """(n,) states; a later line yields to an earlier one, so death and mitosis come before shape."""
    n = len(latent)
    shift = {MITOTIC: "mitotic_arrest", BINUCLEATE: "binucleation"}
    state = np.full(n, INTERPHASE)
    for which in (LARGE, ELONGATED, BINUCLEATE, MITOTIC, APOPTOTIC):
        odds = BASE_ODDS[which] / (1 - BASE_ODDS[which])
        if which in shift:
            odds = odds * np.exp(latent[:, NAMES.index(shift[which])] * PARAMETERS[shift[which]].spread)
        state[rng.random(n) < odds / (1 + odds)] = which
    return state


def _dna_content(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) DNA content relative to G1: 55 % G1, 20 % S, 25 % G2."""
    phase = rng.random(n)
    return np.where(phase < 0.55, 1.0, np.where(phase < 0.75, 1.0 + rng.random(n), 2.0))


def _place(
    rng: np.random.Generator, radius: np.ndarray, pixels: int, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and angles (n,): colonies, with nuclei no closer than they touch; NaN where no room was found."""
    n, tries = len(radius), 40
    margin = MARGIN * scale
    candidates = rng.uniform(-margin, pixels + margin, size=(n, tries, 2))
    origin = rng.integers(0, SIDE, size=2)
    # Tiles are sampled four times coarser than a pixel: a colony of 55 pixels is a tile of sigma 14 stretched by 4.
    spot = candidates / (scale * 4) + origin + SIDE
    colony = sample(tile(COLONY / 4), spot[..., 0], spot[..., 1])
    wanted = rng.random((n, tries)) < 1 / (1 + np.exp(-8.0 * (colony + 0.1)))
    place = np.full((n, 2), np.nan)
    for i in range(n):
        room = SPACING * (radius[i] + radius[:i])
        far = np.hypot(*(candidates[i][:, None, :] - place[None, :i]).transpose(2, 0, 1))
        clearance = np.where(np.isnan(far), np.inf, far / room).min(axis=1, initial=np.inf)
        free = clearance >= 1
        choice = np.flatnonzero(free & wanted[i])
        choice = choice if len(choice) else np.flatnonzero(free)
        if len(choice):
            place[i] = candidates[i, choice[0]]
    swirl = place / (scale * 4) + origin[::-1] + SIDE
    swirl = np.nan_to_num(swirl)
    angle = 1.5 * sample(tile(24.0, 1), swirl[:, 0], swirl[:, 1]) + rng.normal(0, 0.45, n)
    return place[:, 0], place[:, 1], angle
