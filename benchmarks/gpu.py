"""What a GPU buys: training and encoding of each encoder, on it and on the processor's cores beside it.

    python -m benchmarks.gpu [--small] [--seconds 360]

Windows are drawn (five channels, 64 pixels), so that no plate has to be made first; the longer training at the end is
on plates of the simulator, with its gain over what it started from on plates held out. Six minutes on a GPU. With
--small it runs on a processor in seconds, and its figures say nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from benchmarks.figures import Figures
from benchmarks.training import CROP, DESIGN, ENCODERS, SMALL, encoder_scores, gains, plates_of
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.encoders import Trained, fit_encoder
from morpho_assets.learn.kinds import STARTED, EncoderConfig

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
SIDE = 64
PLATES, WELLS, TREATMENTS = 4, 24, 12
ASKED: dict[str, dict[str, Any]] = {
    "imagenet": {"kind": "imagenet", "size": 64},
    "supervised_resnet18": {"kind": "supervised", "architecture": "resnet18", "batch": 256},
    "weakly_supervised": {"kind": "weakly_supervised", "batch": 256},
    "contrastive": {"kind": "contrastive", "batch": 512},
    "vae": {"kind": "vae", "batch": 256},
}
WINDOWS = {"cuda": 32_768, "cpu": 1_024}
"""Windows that are trained on and encoded: a processor gets fewer, and its rate is what is compared."""
ABOUT = (
    "Windows of five channels and 64 pixels, drawn at random: how many are trained on in a second (one pass; bfloat16 "
    "on a GPU) and how many encoded (float32), on a GPU and on all cores of the same machine; how much of that time "
    "the GPU was busy; and one longer training, with its gain on plates held out."
)


def windows(n: int) -> tuple[Cells, list[str], list[str]]:
    """Windows of noise, their treatments, and their wells."""
    rng = np.random.default_rng(0)
    crops = rng.random((n, len(CHANNELS), SIDE, SIDE), dtype=np.float32)
    plate, well = np.arange(n) % PLATES, np.arange(n) // PLATES % WELLS
    cells = Cells(crops, CHANNELS, plates=np.array([f"P{each}" for each in plate]))
    names = [f"P{on} W{at:02d}" for on, at in zip(plate, well, strict=True)]
    return cells, [f"drug {each % TREATMENTS:02d}" for each in well], names


def rates(name: str, device: str, n: int, small: bool) -> tuple[float, float]:
    """Windows a second of training (0 for an encoder that is not trained) and of encoding."""
    settings = {
        "crop_size": SIDE, "shrink": 1, "scaling": "training", "components": None, "max_cells": n, "device": device,
        "epochs": 1, "min_epochs": 1, **ASKED[name],
    }  # fmt: skip
    if name == "imagenet":
        del settings["epochs"], settings["min_epochs"]
    if small:
        settings |= {"batch": 32} if "batch" in settings else {}
        settings |= {"block": 3} if name in ("imagenet", "weakly_supervised", "contrastive") else {}
    config = TypeAdapter(EncoderConfig).validate_python(settings)
    cells, treatments, wells = windows(n)

    def fit(asked: EncoderConfig) -> Trained:
        return fit_encoder(asked, cells, treatments, wells)

    began = time.perf_counter()
    encoder = fit(config)
    whole = time.perf_counter() - began
    trained = 0.0
    if encoder.card.losses.train:  # what a fit of no epochs takes is not training
        began = time.perf_counter()
        fit(config.model_copy(update={"epochs": 0}))
        trained = n / max(whole - (time.perf_counter() - began), 1e-3)
    began = time.perf_counter()
    encoder.encode(cells)
    return trained, n / (time.perf_counter() - began)


class Busy:
    """How much of the time the GPU was busy, asked of its driver every fifth of a second."""

    def __init__(self, ask: Callable[[], float] | None) -> None:
        self.ask, self.found, self.over = ask, [], threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Busy:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()

    @property
    def share(self) -> float:
        """0 to 1; NaN where nothing was asked."""
        return float(np.mean(self.found)) / 100 if self.found else float("nan")

    def _watch(self) -> None:
        while self.ask is not None and not self.over.wait(0.2):
            self.found.append(self.ask())


def utilization() -> Callable[[], float] | None:
    """The driver's per cent; None where there is no driver that can be asked."""
    import torch

    try:
        torch.cuda.utilization()
    except Exception:  # no GPU, or no binding of its driver: torch raises what it comes upon
        return _by_command()
    return lambda: float(torch.cuda.utilization())


def _by_command() -> Callable[[], float] | None:
    import shutil
    import subprocess

    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    asked = [command, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    return lambda: float(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0])


def longer(figures: Figures, folder: Path, device: str, small: bool) -> None:
    """One training of more windows and epochs than a processor has the time for, and its gain on plates held out."""
    settings = {**CROP, **ENCODERS["contrastive"], "device": device, "epochs": 40, "batch": 256, "max_cells": 20_000}
    design = SMALL if small else DESIGN
    if small:
        settings |= {"epochs": 1, "max_cells": 200, "block": 3, "batch": 32}
    plates = plates_of(folder, design, 31, TypeAdapter(EncoderConfig).validate_python(settings))
    began = time.perf_counter()
    found = encoder_scores(plates, settings)
    seconds = time.perf_counter() - began
    for told, what in ((True, "plates"), (False, "compounds")):
        gain = gains(found[""], found[STARTED], told)
        low, high = mean_interval(gain, seed=0) or (float("nan"), float("nan"))
        score = found[""].filter(pl.col("told") == told)["mAP"].mean()
        note = f"held-out {what}; mAP {score:.3f}; 95 % [{low:.3f}, {high:.3f}], {gain.size} treatments"
        figures.add(f"longer_{what}_gain_over_started", float(gain.mean()), "mAP", note)
    figures.add("longer_seconds", seconds, "s", f"{found['card'].verdict}; with its twins and their scores")


def run(figures: Figures, folder: Path, small: bool, seconds: float) -> None:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    ends = time.monotonic() + seconds
    cores = torch.get_num_threads()
    name_of = torch.cuda.get_device_name() if device == "cuda" else f"no GPU: {cores} threads of a processor"
    for name in ASKED:
        if time.monotonic() > ends:
            print(f"left out, for want of time: {name}", flush=True)
            continue
        n = 96 if small else WINDOWS[device]
        rates(name, device, 64 if small else 1_024, small)  # what is compiled, is
        with Busy(utilization() if device == "cuda" else None) as busy:
            training, encoding = rates(name, device, n, small)
        beside = rates(name, "cpu", 96 if small else WINDOWS["cpu"], small)
        for what, rate, of_cores in (("training", training, beside[0]), ("encoding", encoding, beside[1])):
            if rate:
                note = f"{name_of}; {rate / of_cores:.1f} times {cores} threads ({of_cores:.0f}/s)"
                figures.add(f"{name}_{what}", rate, "windows/s", note)
                figures.add(f"{name}_{what}_ratio", rate / of_cores, "", f"over {cores} threads of the same machine")
        if device == "cuda":
            figures.add(
                f"{name}_busy", busy.share, "", "share of that time that the GPU was busy, data and scaling in it"
            )
    if time.monotonic() < ends:
        longer(figures, folder, device, small)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a GPU buys.")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=360, help="nothing new is begun after so many")
    options = parser.parse_args()
    figures = Figures("gpu", ABOUT)
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        run(figures, Path(folder), options.small, options.seconds)
    if not options.small:
        figures.publish()


if __name__ == "__main__":
    main()
