"""The benchmark of a GPU, in small and on a processor: every figure is made."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.figures import Figures


@pytest.mark.slow
def test_the_small_form_makes_every_figure(tmp_path: Path):
    figures = Figures("gpu", gpu.ABOUT)
    gpu.run(figures, tmp_path, small=True, seconds=600)
    found = {name.removeprefix("gpu."): value for name, value, _, _ in figures.rows}
    assert {f"{name}_encoding" for name in gpu.ASKED} <= set(found)
    assert {f"{name}_training_ratio" for name in gpu.ASKED if name != "imagenet"} <= set(found)
    assert {"longer_plates_gain_over_started", "longer_compounds_gain_over_started", "longer_seconds"} <= set(found)
    assert all(np.isfinite(value) for value in found.values())


def test_how_busy_a_gpu_was_is_the_mean_of_what_its_driver_says():
    busy = gpu.Busy(None)
    with busy:
        pass
    assert np.isnan(busy.share)
    busy.found = [100.0, 50.0]
    assert busy.share == 0.75
