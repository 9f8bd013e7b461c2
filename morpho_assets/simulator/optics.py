"""From light to grey levels: gain, blur, haze, vignette, dust, saturation, shot and read noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from morpho_assets.simulator.design import CHANNELS, Technique
from morpho_assets.simulator.layout import Conditions
from morpho_assets.simulator.textures import SIDE, tile

BACKGROUND = {"DNA": 690.0, "ER": 424.0, "RNA": 666.0, "AGP": 790.0, "Mito": 1160.0}  # mid-field, with the camera's
GRAIN = {"DNA": 0.012, "ER": 0.015, "RNA": 0.015, "AGP": 0.015, "Mito": 0.025}  # of the film that dyes leave
CAMERA = 110.0  # offset of the camera, part of the background, not dimmed by the vignette
PSF = 0.8  # pixels at scale 1
LEAST_PSF = 0.65  # a coarser pixel never sees less than itself
HAZE = 0.1  # share of light that is out of focus
HAZE_REACH = 28.0  # and how far it spreads, pixels at scale 1


@dataclass(frozen=True)
class Faults:
    """What went wrong at one site: `focus` extra blur in pixels, `saturated` channel or "", `dust` number of rings."""

    focus: float
    saturated: str
    dust: int


def draw_faults(rng: np.random.Generator, technique: Technique, scale: float) -> Faults:
    """Faults of one site; each switch at 0 never happens."""
    focus, saturated, dust = rng.random(3)
    channel = CHANNELS[int(rng.integers(len(CHANNELS)))]
    rings = int(rng.integers(2, 7))
    return Faults(
        focus=technique.focus_sigma * scale if focus < technique.focus_failures else 0.0,
        saturated=channel if saturated < technique.saturation else "",
        dust=rings if dust < technique.dust else 0,
    )


def vignette(technique: Technique, pixels: int) -> np.ndarray:
    """(pixels, pixels) float32 share of light that reaches each pixel: 1 in the middle, quadratic to the corners."""
    axis = (np.arange(pixels, dtype=np.float32) - (pixels - 1) / 2) / (pixels / 2)
    return (1 - technique.vignette / 2 * (axis[:, None] ** 2 + axis[None, :] ** 2)).astype(np.float32)


def expose(
    rng: np.random.Generator, light: np.ndarray, technique: Technique, well: Conditions, faults: Faults, scale: float
) -> np.ndarray:
    """(5, H, W) float32 light -> (5, H, W) uint16 image."""
    pixels = light.shape[1]
    fall = vignette(technique, pixels)
    sigma = float(np.sqrt(max(PSF * scale, LEAST_PSF) ** 2 + (well.blur * scale) ** 2 + faults.focus**2))
    specks = _specks(rng, pixels, scale, faults.dust) if faults.dust else None
    if faults.dust:
        light = light + _debris(rng, pixels, scale, 4 * faults.dust)
    start = rng.integers(0, SIDE, 2)
    place = np.ix_(*((np.arange(pixels) / scale + s).astype(np.int64) % SIDE for s in start))
    cloudy, grainy = 0.03 * tile(40.0, 12)[place], tile(2.5, 13)[place]
    image = np.empty(light.shape, np.uint16)
    for c, channel in enumerate(CHANNELS):
        field = ndimage.gaussian_filter(light[c], sigma, truncate=3.0)
        field = (1 - HAZE) * field + HAZE * _haze(light[c], scale)
        field *= np.float32(well.gain[c])
        field += np.float32(BACKGROUND[channel] - CAMERA) * (1 + cloudy + np.float32(GRAIN[channel]) * grainy)
        if faults.saturated == channel:
            field *= np.float32(technique.saturation_gain)
        field *= fall
        if specks is not None:
            field *= specks
        variance = field / technique.photons_per_count if technique.photons_per_count else np.zeros_like(field)
        variance += np.float32(technique.read_noise**2)
        # At hundreds of photons a pixel, Poisson noise is normal to within what 16 bits can show.
        field += np.sqrt(variance) * rng.standard_normal(field.shape, dtype=np.float32)
        field += np.float32(CAMERA + well.offset[c])
        image[c] = np.clip(field, 0, 65535).astype(np.uint16)
    return image


def _haze(light: np.ndarray, scale: float) -> np.ndarray:
    """Light spread over HAZE_REACH, worked out on an eight times coarser grid."""
    step = 8
    height, width = light.shape
    pad = (-height % step, -width % step)
    padded = np.pad(light, ((0, pad[0]), (0, pad[1])), mode="edge")
    coarse = padded.reshape(padded.shape[0] // step, step, -1, step).mean((1, 3))
    coarse = ndimage.gaussian_filter(coarse, HAZE_REACH * scale / step)
    return _enlarge(coarse, step)[:height, :width]


def _enlarge(coarse: np.ndarray, step: int) -> np.ndarray:
    """Bilinear enlargement by a whole factor, cell centres kept in place, edges held."""
    share = (np.arange(step, dtype=np.float32) + 0.5) / step - 0.5

    def along(a: np.ndarray) -> np.ndarray:
        before, after = np.concatenate([a[:1], a[:-1]]), np.concatenate([a[1:], a[-1:]])
        low = (share < 0)[None, :, None]
        other = np.where(low, before[:, None], after[:, None])
        weight = np.abs(share)[None, :, None]
        return (a[:, None] * (1 - weight) + other * weight).reshape(-1, a.shape[1])

    return along(along(coarse.astype(np.float32)).T.copy()).T


def _specks(rng: np.random.Generator, pixels: int, scale: float, number: int) -> np.ndarray:
    """(pixels, pixels) float32 share of light past dust on the optics: faint dark rings out of focus."""
    share = np.ones((pixels, pixels), np.float32)
    axis = np.arange(pixels, dtype=np.float32)
    for _ in range(number):
        row, column = rng.uniform(0, pixels, 2).astype(np.float32)
        radius = np.float32(rng.uniform(8, 28) * scale)
        r = np.hypot(axis[:, None] - row, axis[None, :] - column) / radius
        share *= 1 - np.float32(rng.uniform(0.08, 0.4)) * np.exp(-(((r - 0.5) / 0.35) ** 2))
    return share


def _debris(rng: np.random.Generator, pixels: int, scale: float, number: int) -> np.ndarray:
    """(5, pixels, pixels) float32 light of bright crumbs and short fibres that are no cells, brightest in AGP."""
    light = np.zeros((len(CHANNELS), pixels, pixels), np.float32)
    share = np.array([0.02, 0.15, 0.15, 1.0, 0.25], np.float32)
    reach = int(np.ceil(12 * scale))
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    for _ in range(number):
        row, column = rng.integers(reach, pixels - reach, 2)
        turn, length = rng.uniform(0, np.pi), rng.uniform(1.0, 4.0) * scale
        along = axis[:, None] * np.sin(turn) + axis[None, :] * np.cos(turn)
        across = axis[:, None] * np.cos(turn) - axis[None, :] * np.sin(turn)
        crumb = np.exp(-((along / length) ** 2) - (across / (1.2 * scale)) ** 2) * rng.lognormal(8.8, 0.9)
        window = (slice(None), slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1))
        light[window] += share[:, None, None] * crumb.astype(np.float32)
    return light
