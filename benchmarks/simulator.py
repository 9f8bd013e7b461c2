"""How fast the simulator draws, and how near its fields are to a real one.

`python -m benchmarks.simulator [--reference PATH]`; pictures and distances need the reference data and are left out
without it. The pictures of docs/simulator.md are drawn here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.figures import Figures
from morpho_assets.simulator import SIZES, Technique, write_gallery
from morpho_assets.simulator.design import CHANNEL_NUMBERS, CHANNELS
from morpho_assets.simulator.layout import Treatment, Well
from morpho_assets.simulator.site import Site, simulate_site

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
# One ordinary field of one plate: what differs between plates and what goes wrong is left out of the comparison.
ORDINARY = {"batch_gain": 0, "batch_blur": 0, "plate_gain": 0, "well_jitter": 0, "stain_drift": 0, "edge": 0, "dust": 1}
FAULTS = {"focus_failures": 0, "saturation": 0, "edge_count": 0, "row_gradient": 0, "column_gradient": 0}
FIELD = SIZES["plate384"].model_copy(update={"technique": Technique().model_copy(update=ORDINARY | FAULTS)})
DMSO = Well(4, 14, Treatment(None, 0.0, "negcon"))
REAL_WELLS = {"D14": "r04c14", "A21": "r01c21"}  # DMSO, and dexamethasone, which does little to U2OS
QUANTILES = np.array([1, 5, 25, 50, 75, 90, 95, 99, 99.5])


def real_field(reference: Path, well: str) -> tuple[np.ndarray, np.ndarray]:
    """(5, 1080, 1080) uint16 image and (1080, 1080) CellProfiler's nuclei of one real field."""
    folder = next((reference / "gallery").glob("*/*/images/*/images/*/Images"))
    files = [folder / f"{REAL_WELLS[well]}f05p01-ch{CHANNEL_NUMBERS[c]}sk1fk1fl1.tiff" for c in CHANNELS]
    nuclei = tifffile.imread(reference / "cellprofiler_reference/segmentation" / well / "nuclei.tif")
    return np.stack([tifffile.imread(file) for file in files]), nuclei


def _inner_areas(site: Site) -> np.ndarray:
    """Areas of the nuclei that do not meet the border: CellProfiler discards the others."""
    nuclei = site.nuclei
    border = np.unique(np.concatenate([nuclei[0], nuclei[-1], nuclei[:, 0], nuclei[:, -1]]))
    return np.delete(np.bincount(nuclei.ravel()), np.union1d(border, [0]))


def radial_power(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spatial frequency (cycles a pixel) and mean power of the log image in 60 rings."""
    field = np.log(np.maximum(plane.astype(np.float64), 1))
    taper = np.hanning(len(field))
    power = np.abs(np.fft.fft2((field - field.mean()) * np.outer(taper, taper))) ** 2
    axis = np.fft.fftfreq(len(field))
    frequency = np.hypot(axis[:, None], axis[None, :])
    ring = np.minimum((frequency * 120).astype(int), 60)
    sums, counts = (np.bincount(ring.ravel(), w, 61)[1:60] for w in (power.ravel(), None))
    return (np.arange(1, 60) + 0.5) / 120, sums / counts


def drawing_rate(fields: int = 6) -> float:
    """Megapixels x channels that one core draws in a second, over some fields of a `plate384`."""
    for site in range(3):
        simulate_site(SIZES["plate384"], 0, 0, DMSO, site)
    start = time.process_time()
    for site in range(fields):
        simulate_site(SIZES["plate384"], 1, 0, DMSO, site)
    return fields * 1.08**2 * len(CHANNELS) / (time.process_time() - start)


def speed(figures: Figures) -> None:
    """How fast one core draws, and seconds of the two small sizes as they are written."""
    figures.add("megapixel_channels_per_s", drawing_rate(), "megapixels × channels/s", "one core; wanted: 5")
    for size in ("tiny", "demo"):
        with tempfile.TemporaryDirectory() as root:
            start = time.process_time()
            write_gallery(root, size)
            seconds = time.process_time() - start
            written = sum(path.stat().st_size for path in Path(root).rglob("*") if path.is_file())
        figures.add(f"{size}_seconds", seconds, "s", "one core, written to disk")
        figures.add(f"{size}_megabytes", written / 1e6, "MB")


def likeness(figures: Figures, reference: Path) -> None:
    """Cells, nuclear areas, grey levels and spectra of synthetic fields against the real ones; and the pictures."""
    real = {well: real_field(reference, well) for well in REAL_WELLS}
    made = [simulate_site(FIELD, seed, 0, DMSO, 5) for seed in range(8)]
    areas = np.concatenate([np.bincount(nuclei.ravel())[1:] for _, nuclei in real.values()])
    synthetic_areas = np.concatenate([_inner_areas(site) for site in made])
    for name, values in (("real", areas), ("synthetic", synthetic_areas)):
        for label, q in (("median", 50), ("5th_percentile", 5), ("95th_percentile", 95)):
            figures.add(f"nuclear_area_{label}_{name}", float(np.percentile(values, q)), "pixels")
    for well, (_, nuclei) in real.items():
        figures.add(f"cells_per_field_real_{well}", float(nuclei.max()), "cells")
    figures.add("cells_per_field_synthetic", float(np.mean([s.nuclei.max() for s in made])), "cells", "mean of 8")
    dmso = real["D14"][0]
    for c, channel in enumerate(CHANNELS):
        levels = [np.log(np.percentile(plane, QUANTILES)) for plane in (dmso[c], *(s.image[c] for s in made))]
        off = np.abs(np.mean(levels[1:], axis=0) - levels[0]).mean()
        spread = np.abs(np.log(np.percentile(real["A21"][0][c], QUANTILES)) - levels[0]).mean()
        note = f"mean over quantiles 1 to 99.5; the other real field differs by {spread:.2f}"
        figures.add(f"grey_levels_off_{channel}", float(off), "log units", note)
        spectra = [np.log10(radial_power(plane)[1]) for plane in (dmso[c], *(s.image[c] for s in made))]
        off = np.abs(np.mean(spectra[1:], axis=0) - spectra[0]).mean()
        spread = np.abs(np.log10(radial_power(real["A21"][0][c])[1]) - spectra[0]).mean()
        figures.add(f"spectrum_off_{channel}", float(off), "decades", f"the other real field differs by {spread:.2f}")
    draw_fields(dmso, made[4])
    draw_statistics(dmso, made, areas, synthetic_areas)


def draw_fields(real: np.ndarray, made: Site) -> None:
    """Five stains of a real and a synthetic field, the real one above, at the contrast of the real one."""
    from PIL import Image

    rows = []
    for image in (real, made.image):
        tiles = []
        for c in range(len(CHANNELS)):
            low, high = np.percentile(real[c], [0.5, 99.8])
            shown = np.clip((image[c].astype(float) - low) / (high - low), 0, 1) ** 0.7 * 255
            tiles.append(shown[300:860, 380:940].reshape(280, 2, 280, 2).mean((1, 3)).astype(np.uint8))
        rows.append(np.hstack([np.pad(tile, 2, constant_values=255) for tile in tiles]))
    Image.fromarray(np.vstack(rows)).save(IMAGES / "simulator_fields.png", optimize=True)


def draw_statistics(real: np.ndarray, made: list[Site], areas: np.ndarray, synthetic_areas: np.ndarray) -> None:
    """Histograms of grey levels, radial spectra, and nuclear areas."""
    import matplotlib.ticker

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 6, figsize=(15, 5), dpi=70)
    for c, channel in enumerate(CHANNELS):
        bins = np.geomspace(150, 65536, 90)
        for plane, colour, label in [(s.image[c], "0.75", None) for s in made] + [(real[c], "C3", "real")]:
            axes[0, c].plot(bins[1:], np.histogram(plane, bins)[0] + 1, color=colour, label=label)
            axes[1, c].loglog(*radial_power(plane), color=colour)
        axes[0, c].set(xscale="log", yscale="log", title=channel, xlabel="grey level")
        axes[1, c].set(xlabel="cycles / pixel", xticks=[0.01, 0.1], xlim=(0.01, 0.5))
        axes[1, c].xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes[0, 0].set_ylabel("pixels")
    axes[1, 0].set_ylabel("power")
    axes[0, 0].plot([], [], color="0.75", label="8 synthetic")
    axes[0, 0].legend(frameon=False)
    bins = np.linspace(0, 2500, 26)
    axes[0, 5].hist(synthetic_areas, bins, density=True, color="0.75")
    axes[0, 5].hist(areas, bins, density=True, histtype="step", color="C3")
    axes[0, 5].set(title="nuclear area", xlabel="pixels", yticks=[])
    axes[1, 5].axis("off")
    figure.tight_layout()
    figure.savefig(IMAGES / "simulator_statistics.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", default=os.environ.get("MORPHO_REFERENCE_DATA"), help="folder of reference data")
    reference = parser.parse_args().reference
    about = "Speed of the synthetic gallery on one core (processor time), and its likeness to real fields of CPJUMP1."
    figures = Figures("simulator", about)
    speed(figures)
    if reference:
        IMAGES.mkdir(parents=True, exist_ok=True)
        likeness(figures, Path(reference))
    figures.publish("Drawing is bound by noise, blur and table look-ups, in about equal parts.")


if __name__ == "__main__":
    main()
