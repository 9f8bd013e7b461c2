"""The shipped network beside the watershed and the small cellpose network: on the third of dsb2018 that its training
never saw, on simulated fields of seeds and settings that nothing saw, and against CellProfiler; for
`benchmarks.segmentation`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.dsb2018 import Field
from benchmarks.figures import Figures
from benchmarks.network_data import simulated, split
from benchmarks.train_small_cellpose import unseen
from morpho_assets.evaluate.segmentation import f1_of, map_dsb_of
from morpho_assets.imaging.overlap import Overlap, overlap
from morpho_assets.imaging.segmentation import NetworkConfig, Segmentation, Segmenter, WatershedConfig, make_segmenter
from morpho_assets.imaging.segmentation.config import CellsConfig, NetworkNucleiConfig, NucleiConfig

DSB2018 = NetworkConfig(nuclei=NetworkNucleiConfig(border="keep", min_diameter=3), cells=CellsConfig(channels=("DNA",)))
CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito"]
SEED, FIELDS = 20_261_128, 16  # of the simulated fields; training draws from seed 0
RESAMPLES = 10_000


@dataclass(frozen=True)
class Scores:
    """One method on n images: arrays (n,) of what is scored of each, and the seconds it took."""

    f1_50: NDArray[np.float64]
    f1_70: NDArray[np.float64]
    map_dsb: NDArray[np.float64]
    count_error: NDArray[np.float64]
    splits: NDArray[np.float64]
    merges: NDArray[np.float64]
    seconds: float

    def publish(self, figures: Figures, prefix: str, note: str, **least: float) -> None:
        for name in ("f1_50", "f1_70", "map_dsb", "count_error", "splits", "merges"):
            figures.add(f"{prefix}_{name}", float(getattr(self, name).mean()), "1", note, at_least=least.get(name))
        figures.add(f"{prefix}_seconds", self.seconds, "s/image", note)


def scores_of(pairs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]], seconds: float) -> Scores:
    """Of (truth, found) label images; splits and merges are shares of the true objects."""
    rows = []
    for truth, found in pairs:
        table = overlap(truth, found)
        true, predicted = table.truth_area.size, table.predicted_area.size
        split_up, merged = parted(table)
        rows.append((f1_of(table, 0.5), f1_of(table, 0.7), map_dsb_of(table), (predicted - true) / max(true, 1),
                     split_up / max(true, 1), merged / max(true, 1)))  # fmt: skip
    return Scores(*[*np.array(rows, float).T, seconds])


def parted(table: Overlap) -> tuple[int, int]:
    """True objects that hold most of each of several found ones, and found ones that hold most of several true ones."""
    found_inside = 2 * table.shared > table.predicted_area[table.predicted]
    true_inside = 2 * table.shared > table.truth_area[table.truth]
    several = (np.bincount(at, minlength=1) > 1 for at in (table.truth[found_inside], table.predicted[true_inside]))
    one, other = (int(np.count_nonzero(each)) for each in several)
    return one, other


def scored(fields: Sequence[Field], segmenter: Segmenter) -> Scores:
    """Nuclei of `segmenter` on fields of dsb2018."""
    segmenter.segment(fields[0].image[None, :64, :64], ["DNA"])  # what is compiled or loaded once
    begin = perf_counter()
    found = [segmenter.segment(field.image[None], ["DNA"]).nuclei for field in fields]
    seconds = (perf_counter() - begin) / len(fields)
    return scores_of([(field.labels, nuclei) for field, nuclei in zip(fields, found, strict=True)], seconds)


def gain(one: NDArray[np.float64], other: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """Mean of the paired differences and the 95 % interval of their bootstrap over images."""
    difference = one - other
    drawn = np.random.default_rng(seed).integers(0, difference.size, (RESAMPLES, difference.size))
    low, high = np.quantile(difference[drawn].mean(axis=1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def bench_unseen(
    figures: Figures, fields: list[Field], watershed: Segmenter, small: Segmenter | None, every: int
) -> None:
    """The third of dsb2018 that training never saw."""
    third = split(fields)[1][::every]
    network = scored(third, make_segmenter(DSB2018))
    note = f"{len(third)} images that its training never saw"
    network.publish(figures, "network_unseen", note, f1_50=0.90, f1_70=0.83)
    scored(third, watershed).publish(figures, "watershed_unseen", f"the same {len(third)} images")
    if small is None:
        return
    rival = scored(third, small)
    rival.publish(figures, "small_nuclei_unseen", "the same images, two thirds of which small-nuclei was trained on")
    mean, low, high = gain(network.map_dsb, rival.map_dsb)
    about = "network minus small-nuclei, paired over the same images"
    figures.add("network_gain_map_dsb", mean, "1", about, at_least=0.02)
    figures.add(
        "network_gain_low", low, "1", f"lower end of its 95 % interval, bootstrap; upper {high:.3f}", at_least=0
    )
    both = {field.name for field in unseen(fields)}
    here = np.array([field.name in both for field in third])
    if here.sum() > 2:
        mean, low, high = gain(network.map_dsb[here], rival.map_dsb[here])
        about = f"on the {here.sum()} that neither was trained on; 95 % interval {low:.3f} to {high:.3f}"
        figures.add("network_gain_unseen_by_both", mean, "1", about)


def bench_simulated(figures: Figures) -> None:
    """Simulated fields of a seed and settings that nothing was trained on; nuclei at the border are kept."""
    drawn = simulated(np.random.default_rng(SEED), SEED)
    fields = [field for _, field in zip(range(FIELDS), drawn, strict=False)]
    network = make_segmenter(NetworkConfig(nuclei=NetworkNucleiConfig(border="keep")))
    watershed = make_segmenter(WatershedConfig(nuclei=NucleiConfig(border="keep")))
    for name, segmenter in (("network", network), ("watershed", watershed)):
        begin = perf_counter()
        found = [segmenter.segment(image, CHANNELS) for image, _, _ in fields]
        seconds = (perf_counter() - begin) / len(fields)
        note = f"{len(fields)} simulated fields, other magnification, density, blur, noise and bits each"
        for kind, number in (("nuclei", 1), ("cells", 2)):
            pairs = [(field[number], getattr(one, kind)) for field, one in zip(fields, found, strict=True)]
            least = {"f1_50": 0.93} if (name, kind) == ("network", "cells") else {}
            scores_of(pairs, seconds).publish(figures, f"{name}_{kind}_simulated", note, **least)


def bench_agreement(
    figures: Figures, painting: tuple[NDArray[np.float32], NDArray[np.int32]],
    wells: dict[str, tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]],
) -> None:  # fmt: skip
    """Agreement with CellProfiler: no bar, for it would reward copying."""
    segmenter = make_segmenter(NetworkConfig())
    found: Segmentation = segmenter.segment(painting[0], ["DNA", "RNA", "AGP"])
    table = overlap(painting[1], found.nuclei)
    note = f"{found.count} nuclei, CellProfiler {painting[1].max()}; agreement, no score"
    figures.add("network_cellpainting_f1_50", f1_of(table, 0.5), "1", note)
    figures.add("network_cellpainting_f1_70", f1_of(table, 0.7), "1", note)
    for well, (image, nuclei, cells) in wells.items():
        found = segmenter.segment(image, CHANNELS)
        note = f"{found.count} cells, CellProfiler {cells.max()}; agreement, no score"
        for kind, truth in (("nuclei", nuclei), ("cells", cells)):
            figures.add(f"network_{well}_{kind}_f1_50", f1_of(overlap(truth, getattr(found, kind)), 0.5), "1", note)


def bench_seconds(figures: Figures, image: NDArray[np.float32]) -> None:
    """Nuclei and cells of one 1080 x 1080 site by the network, processor seconds on one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    segmenter = make_segmenter(NetworkConfig())
    times = []
    for _ in range(4):
        begin = process_time()
        segmenter.segment(image, CHANNELS)
        times.append(process_time() - begin)
    torch.set_num_threads(before)
    figures.add(
        "network_site_seconds",
        min(times[1:]),
        "s",
        "processor seconds: 1080 x 1080, nuclei and cells, one thread",
        at_most=0.8,
    )
