"""One site: everything from seed to image and truth, by itself, whatever other sites exist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho_assets.simulator.biology import NAMES
from morpho_assets.simulator.design import GalleryDesign, generator
from morpho_assets.simulator.layout import Well, conditions
from morpho_assets.simulator.optics import Faults, draw_faults, expose
from morpho_assets.simulator.population import STATES, draw_population
from morpho_assets.simulator.shapes import draw_labels, draw_outlines
from morpho_assets.simulator.stains import locate, paint

LEAST_NUCLEUS = 60.0  # square pixels at scale 1: a smaller rest of a nucleus at the border is no cell of the truth


@dataclass(frozen=True)
class Site:
    """`image` (5, H, W) uint16 in the order of CHANNELS; `nuclei`, `cells` (H, W) int32 with 1..n, nucleus i in cell
    i; `table` n values per column; `faults` what was planted in this image."""

    image: np.ndarray
    nuclei: np.ndarray
    cells: np.ndarray
    table: dict[str, np.ndarray]
    faults: Faults


def simulate_site(design: GalleryDesign, seed: int, plate: int, well: Well, site: int) -> Site:
    """Draw site 1, 2, … of a well. The same arguments give the same arrays."""
    rng = generator(seed, "site", plate, well.row, well.column, site)
    state = conditions(design, seed, plate, well)
    treatment = well.treatment
    effect = treatment.effect
    expected = design.cells_per_site * float(np.exp(state.log_count + effect[NAMES.index("viability")]))
    penetrance = treatment.compound.penetrance if treatment.compound else 0.0
    cells = draw_population(rng, expected, design.pixels, design.scale, effect, penetrance)
    outlines = draw_outlines(rng, cells)
    drawn, drawn_nuclei = draw_labels(rng, outlines, cells, design.pixels, design.scale)
    light = paint(rng, locate(rng, drawn, cells, outlines, design.scale), cells, drawn)
    faults = draw_faults(rng, design.technique, design.scale)
    image = expose(rng, light, design.technique, state, faults, design.scale)
    n = len(cells)
    size = np.bincount(drawn_nuclei.ravel(), minlength=n + 1)[1:]
    known = np.flatnonzero(size >= LEAST_NUCLEUS * design.scale**2)
    renumber = np.zeros(n + 1, np.int32)
    renumber[known + 1] = np.arange(1, len(known) + 1)
    nuclei, labels = renumber[drawn_nuclei], renumber[drawn]
    table = _cell_table(labels, nuclei)
    table |= {
        "state": np.array(STATES)[cells.state[known]],
        "responds": cells.responds[known],
        **{name: cells.latent[known, i].astype(np.float32) for i, name in enumerate(NAMES) if name != "viability"},
    }
    return Site(image, nuclei, labels, table, faults)


def _cell_table(cells: np.ndarray, nuclei: np.ndarray) -> dict[str, np.ndarray]:
    """Number, centre of the nucleus, areas, and whether the cell meets the border, from the label images."""
    n = int(nuclei.max(initial=0))
    numbers = np.arange(1, n + 1)
    rows, columns = np.nonzero(nuclei)
    owner = nuclei[rows, columns]
    area = np.bincount(owner, minlength=n + 1)[1:]
    border = np.unique(np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]]))
    return {
        "ObjectNumber": numbers.astype(np.int32),
        "center_y": (np.bincount(owner, rows, n + 1)[1:] / area).astype(np.float32),
        "center_x": (np.bincount(owner, columns, n + 1)[1:] / area).astype(np.float32),
        "nucleus_pixels": area.astype(np.int32),
        "cell_pixels": np.bincount(cells.ravel(), minlength=n + 1)[1:].astype(np.int32),
        "touches_border": np.isin(numbers, border),
    }
