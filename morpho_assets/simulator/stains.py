"""Five stains of the same cells, as light per pixel before any optics (grey levels over the background).

Everything is computed once for the list of foreground pixels: distance from the nucleus, direction, depth in the
cell, and a few texture values; each stain is then one formula over that list. Levels were set on the DMSO field of
CPJUMP1 (medians of nucleus and cytoplasm over background, features.md's reference plate).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from morpho_assets.simulator.design import CHANNELS
from morpho_assets.simulator.population import APOPTOTIC, MITOTIC, Population
from morpho_assets.simulator.shapes import ANGLES, STRETCH, Outlines, polar
from morpho_assets.simulator.textures import SIDE, sample, tile

# Each cell's own brightness, standard deviation of the log: cells differ in stain, not only in shape.
UNEVEN = {"DNA": 0.05, "ER": 0.16, "RNA": 0.13, "AGP": 0.12, "Mito": 0.27}


@dataclass(frozen=True)
class Pixels:
    """The p foreground pixels of a site. `index` into the flat image; `cell` index of the owner; `outside` pixels
    (at scale 1) from the nuclear envelope, negative inside; `depth` 0 at the cell's centre, 1 as far out as it can be;
    `direction` index into ANGLES; `u`, `v` offsets (at scale 1) along and across the cell's axis, each with the
    cell's own random shift, to sample textures with. All (p,), float32 or int32."""

    index: np.ndarray
    cell: np.ndarray
    outside: np.ndarray
    depth: np.ndarray
    direction: np.ndarray
    u: np.ndarray
    v: np.ndarray


def locate(rng: np.random.Generator, labels: np.ndarray, cells: Population, outlines: Outlines, scale: float) -> Pixels:
    """Every labelled pixel of `draw_labels`' image in the coordinates of its own cell."""
    index = np.flatnonzero(labels)
    cell = labels.ravel()[index] - 1
    rows, columns = np.divmod(index.astype(np.int32), np.int32(labels.shape[1]))
    inverse = np.float32(1 / scale)
    dy, dx = rows - cells.row[cell], columns - cells.column[cell]
    r, direction = polar(dy, dx)
    depth = r / (STRETCH * outlines.cell.ravel().take(cell * ANGLES + direction))
    outside = _outside(rows, columns, cell, outlines) * inverse
    turn = cells.angle.astype(np.float32)
    cosine, sine = np.cos(turn)[cell], np.sin(turn)[cell]
    shift = rng.uniform(SIDE, 2 * SIDE, (2, len(cells))).astype(np.float32)
    u = (dx * cosine + dy * sine) * inverse + shift[0][cell]
    v = (dy * cosine - dx * sine) * inverse + shift[1][cell]
    return Pixels(index, cell, outside, depth, direction, u, v)


def _outside(rows: np.ndarray, columns: np.ndarray, cell: np.ndarray, outlines: Outlines) -> np.ndarray:
    """(p,) signed pixels from the nearest lobe of the own nucleus, along the ray from the lobe's centre."""
    n = len(outlines.cell)

    def lobe(number: np.ndarray, which: np.ndarray | slice) -> np.ndarray:
        r, direction = polar(rows[which] - outlines.row[number], columns[which] - outlines.column[number])
        return r - outlines.nucleus.ravel().take(number * ANGLES + direction)

    outside = lobe(cell, slice(None))
    second = np.full(n, -1)
    second[outlines.owner[n:]] = np.arange(n, len(outlines.owner))
    both = np.flatnonzero(second[cell] >= 0)
    if len(both):
        outside[both] = np.minimum(outside[both], lobe(second[cell[both]], both))
    return outside


def paint(rng: np.random.Generator, pixels: Pixels, cells: Population, labels: np.ndarray) -> np.ndarray:
    """(5, H, W) float32 light of DNA, ER, RNA, AGP and Mito; zeros where there is no cell."""
    light = np.zeros((len(CHANNELS), labels.size), np.float32)
    if not len(pixels.index):
        return light.reshape(len(CHANNELS), *labels.shape)
    p = _Painter(rng, pixels, cells, labels)
    for c, values in enumerate((p.dna(), p.er(), p.rna(), p.agp(), p.mito())):
        light[c, pixels.index] = values * p.per_cell(np.exp(rng.normal(0, UNEVEN[CHANNELS[c]], len(cells))))
    return light.reshape(len(CHANNELS), *labels.shape)


class _Painter:
    """The quantities that more than one stain needs, per foreground pixel, and one method per stain."""

    def __init__(self, rng: np.random.Generator, pixels: Pixels, cells: Population, labels: np.ndarray) -> None:
        self.rng, self.pixels, self.cells = rng, pixels, cells
        self.inside = 1 / (1 + np.exp(np.clip(pixels.outside * 2.2, -30, 30)))  # soft nuclear edge
        self.beyond = np.maximum(pixels.outside, 0)
        self.fine = self.texture(1.5, 3)
        self.middle = self.texture(4.0, 4)
        self.taper = np.sqrt(np.clip((1 - pixels.depth) * 1.7, 0, 1))
        # The side on which the Golgi sits; ER and mitochondria gather there too.
        side = rng.integers(0, ANGLES, len(cells))
        waves = np.cos(np.arange(ANGLES) * (2 * np.pi / ANGLES)).astype(np.float32)
        self.towards = waves.take((pixels.direction - side[pixels.cell]) & (ANGLES - 1))
        self.mitotic = self.per_cell(cells.state == MITOTIC)
        self.dying = self.per_cell(cells.state == APOPTOTIC)
        # Rounded cells are thick, hence bright; dead ones saturate the camera in most channels.
        self.height = 1 + self.mitotic * 0.9 + self.dying * 6.0
        self.rim = np.exp(-((pixels.outside - 0.8) ** 2) / 2.2)  # nuclear envelope
        wall = np.zeros(labels.shape, bool)
        for across in (wall, wall.T):
            own = labels if across is wall else labels.T
            differs = own[1:] != own[:-1]
            across[1:] |= differs
            across[:-1] |= differs
        self.wall = wall.ravel()[pixels.index]

    def per_cell(self, values: np.ndarray) -> np.ndarray:
        """(n,) values of cells, at each pixel, float32."""
        return values.astype(np.float32)[self.pixels.cell]

    def texture(self, sigma: float, version: int, stretch: float = 1.0) -> np.ndarray:
        """A tile sampled in the cell's own coordinates; `stretch` draws it out along the cell's axis."""
        return sample(tile(sigma, version), self.pixels.v, self.pixels.u / np.float32(stretch))

    def around(self, reach: float) -> np.ndarray:
        """Fall-off from the nuclear envelope outwards over `reach` pixels at scale 1; 1 inside the nucleus."""
        return np.exp(self.beyond * np.float32(-1 / reach))

    def dna(self) -> np.ndarray:
        contrast = self.per_cell(np.exp(self.cells.value("chromatin_texture")))
        grain = 0.14 * self.texture(1.1, 11) + 0.06 * self.middle
        chromatin = np.maximum(1 + contrast * grain, 0.15)
        condensed = 1 + 1.5 * self.mitotic + 6.0 * self.dying
        return 9000 * self.per_cell(self.cells.dna) * self.inside * chromatin * condensed + 150 * self.taper

    def er(self) -> np.ndarray:
        level = self.per_cell(np.exp(self.cells.value("er_intensity")))
        sheet = 0.12 + 1.05 * self.around(14.0) * (0.85 + 0.45 * self.towards)
        sheet = sheet * (1 + 0.14 * self.middle + 0.14 * self.fine) + 0.16 * self.rim
        nucleus = 0.6 + 0.04 * self.fine
        return 6600 * level * self.height * self.taper * (sheet + (nucleus - sheet) * self.inside)

    def rna(self) -> np.ndarray:
        sheet = 0.22 + 0.72 * self.around(19.0) * (0.9 + 0.3 * self.towards)
        sheet = sheet * (1 + 0.1 * self.middle + 0.09 * self.fine) + 0.1 * self.rim
        spots = np.clip(self.texture(1.9, 5) - 0.8, 0, 0.8) * (self.pixels.outside < -2.5) * (1 - self.mitotic)
        nucleoli = self.per_cell(np.exp(self.cells.value("nucleoli"))) * spots
        nucleus = 0.6 + 0.03 * self.fine + 0.75 * nucleoli
        return 11000 * self.height * self.taper * (sheet + (nucleus - sheet) * self.inside)

    def agp(self) -> np.ndarray:
        actin = self.per_cell(np.exp(self.cells.value("actin_fibres")))
        fibres = np.clip(self.texture(1.3, 6, stretch=14.0), 0, 2) * (0.25 + 0.75 * self.pixels.depth)
        body = 0.24 + 0.36 * self.around(20.0) + 0.03 * self.middle + 0.07 * actin * fibres
        body = body + 0.07 * actin * self.wall
        scattered = self.per_cell(self.cells.chance("golgi_dispersal", 0.12))
        width = self.per_cell(self.rng.uniform(0.0, 0.85, len(self.cells)))  # of the crescent: larger is narrower
        near = np.exp(-(((self.beyond - 4.5) / 5.0) ** 2)) * np.clip((self.towards - width) * 3, 0, 1) * (0.8 + width)
        far = np.exp(-self.beyond / 30.0)
        stacks = np.clip(self.texture(1.7, 7) + 0.1, 0, 2)
        drops = np.clip(self.texture(1.3, 10) - 1.6, 0, 1)
        golgi = stacks * near * (1 - scattered) + np.clip(stacks - 0.7, 0, 2) * far * scattered + 0.3 * drops * far
        nucleus = 0.8 + 0.05 * self.fine + 0.05 * self.middle
        light = body + (nucleus - body) * self.inside * (1 - 0.5 * self.mitotic)
        light = light + 1.5 * golgi * (1 - self.inside * 0.75) * (1 - self.dying)
        return 4800 * self.height * np.sqrt(self.taper) * light

    def mito(self) -> np.ndarray:
        broken = self.per_cell(self.cells.chance("mito_fragmentation", 0.12))
        network = np.exp(-((self.texture(1.7, 8, stretch=2.2) / 0.45) ** 2))
        loaded = self.per_cell(self.rng.lognormal(-0.1, 0.5, len(self.cells)))
        puncta = np.clip(self.texture(2.4, 9) - 0.8, 0, 1.5) * 3.0 * loaded
        spread = 1 - np.clip(self.beyond / 45.0, 0, 1)
        patchy = np.clip(1 + 0.8 * self.middle, 0, 2)
        mass = self.around(9.0) * (0.8 + 0.5 * self.towards) + 0.2 * spread * patchy
        organelles = mass * (network * (1 - broken) + puncta * broken) * 1.1 + 0.5 * mass
        nucleus = 0.25 + 0.03 * self.middle + 0.02 * self.fine
        light = 0.13 * (1 + self.around(20.0)) + organelles * (1 - self.inside) + nucleus * self.inside
        light = light + 0.15 * self.rim
        return 1500 * self.height * self.taper * light
