"""Drifting stains of plates in a lake: found within their batch, with a p-value that is right where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import evaluate_plates
from morpho_assets.evaluate.metrics import METRICS_SCHEMA
from morpho_assets.evaluate.stain_drift import chance_of
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.sites import SiteReader
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets_tests.factories import commit_tables, plate, tables_of

Plates = tuple[Snapshot, dict[str, SiteReader]]


def plates(folder: Path, levels: dict[str, tuple[str, float]], sites: int = 20) -> Plates:
    """Tables and readers of plates; `levels` maps a plate to its batch and the contrast of its AGP images."""
    lake = Lake(str(folder))
    rng = np.random.default_rng(0)
    for key, (batch, level) in levels.items():
        wells = [f"A{number:02d}" for number in range(1, sites + 1)]
        frame = pl.DataFrame({"Metadata_Plate": key, "Metadata_Well": wells})
        commit_tables(lake, "plate_manifest", plate(key), {"wells": frame.with_columns(Metadata_Batch=pl.lit(batch))})
        values = level * rng.normal(1, 0.05, sites)
        quality = frame.with_columns(Metadata_Site=1, channel=pl.lit("AGP"), ImageQuality_StdIntensity=values)
        commit_tables(lake, "image_quality", plate(key), {"image_quality": quality})
    return tables_of(lake, "evaluation"), dict.fromkeys(levels, SiteReader(lake, Store()))


BATCHES = {f"P{n}": ("one", 0.1 + 0.001 * n) for n in range(4)} | {f"Q{n}": ("two", 0.3 + 0.004 * n) for n in range(4)}


def drifted(found: Plates, **settings: object) -> list[str]:
    metrics = evaluate_plates(*found, {"evaluator": "stain_drift", **settings}).metrics
    return metrics.filter(~pl.col("holds"))["scope"].to_list()


def test_plates_are_compared_with_their_own_batch(tmp_path: Path) -> None:
    five = plates(tmp_path, {**BATCHES, "P4": ("one", 0.16)})
    assert drifted(five) == ["P4, AGP"]
    assert drifted(five, group=()) == []  # among plates of another batch it is one in the middle
    found = evaluate_plates(*five, {"evaluator": "stain_drift"}).metrics
    assert dict(found.schema) == METRICS_SCHEMA
    ratio = found.filter(metric="stain_log2_ratio", scope="P4, AGP").row(0, named=True)
    assert ratio["value"] == pytest.approx(np.log2(0.16 / 0.1015), abs=0.06)
    assert (ratio["chance"], ratio["n"]) == (0, 20)
    assert found.filter(metric="stain_z", scope="P4, AGP")["p_value"][0] < 0.05


def test_two_plates_have_a_ratio_alone_and_plates_without_images_nothing(tmp_path: Path) -> None:
    tables, readers = plates(tmp_path, {"P1": ("one", 0.1), "P2": ("one", 0.2)})
    found = evaluate_plates(tables, readers, {"evaluator": "stain_drift"}).metrics
    assert found["metric"].to_list() == ["stain_log2_ratio"] * 2
    for key in readers:
        none = tables.read("image_quality", key).clear()
        commit_tables(tables.lake, "image_quality", plate(key), {"image_quality": none})
    tables = tables_of(tables.lake, "evaluation")
    assert evaluate_plates(tables, readers, {"evaluator": "stain_drift"}).metrics.is_empty()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"value": "ImageQuality_StdIntesity"}, "no column ImageQuality_StdIntesity; expected of ImageQuality_Std"),
        ({"group": ("Metadata_Bach",)}, "no column Metadata_Bach"),
        ({"group": ("Metadata_Well",)}, "20 values of Metadata_Well on plate P0; expected one value a plate"),
    ],
)
def test_settings_that_do_not_fit_the_plates(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        drifted(plates(tmp_path, BATCHES), **settings)


def test_the_p_value_is_right_where_no_plate_differs() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(300):
        others, own = rng.normal(size=5), rng.normal()
        mad = 1.4826 * np.median(np.abs(others - np.median(others)))
        values.append(chance_of((own - np.median(others)) / mad, 5, seed=0))
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=0.035)
    assert chance_of(3.5, 3, seed=0) > 0.05  # of three other plates a z of 3.5 is nothing rare
