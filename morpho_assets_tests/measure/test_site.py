"""Inputs of every kind, the columns, the profiles, and what it costs to start."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from morpho_assets.errors import InputError
from morpho_assets.measure import PROFILES, MeasurementConfig, feature_columns, measure_site
from morpho_assets_tests.measure.fields import CHANNELS, COMPARTMENTS, synthetic


def test_jump_has_the_columns_of_cellprofiler() -> None:
    columns = feature_columns(CHANNELS, COMPARTMENTS)
    per_module = {module: sum(f"_{module}_" in name for name in columns) for module in ("Texture", "Granularity")}
    assert len(columns) == 3501
    assert per_module == {"Texture": 3 * 780, "Granularity": 3 * 80}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_columns_are_known_before_measuring(profile: str) -> None:
    image, labels = synthetic(0, side=60, cells=3)
    measured = measure_site(image, labels, CHANNELS, profile)
    assert measured.columns == ["ObjectNumber", *feature_columns(CHANNELS, COMPARTMENTS, profile)]


@pytest.mark.parametrize("channels", [1, 8])
def test_any_number_of_channels(channels: int) -> None:
    image, labels = synthetic(0, side=60, cells=3, channels=channels)
    measured = measure_site(image, labels, [f"C{k}" for k in range(channels)])
    assert measured.height == 3
    assert not measured.select("Cells_Texture_Contrast_C0_3_00_256").to_series().is_nan().any()


def test_no_object_gives_no_row_but_all_columns() -> None:
    image = np.zeros((5, 40, 40), np.float32)
    measured = measure_site(image, {name: np.zeros((40, 40), np.uint16) for name in COMPARTMENTS}, CHANNELS)
    assert measured.shape == (0, 3502)


def test_without_modules_only_the_numbers_remain() -> None:
    image, labels = synthetic(0, side=60, cells=3)
    nothing = MeasurementConfig(**dict.fromkeys(MeasurementConfig.model_fields))
    measured = measure_site(image, labels, CHANNELS, nothing)
    assert measured.to_dict(as_series=False) == {"ObjectNumber": [1, 2, 3]}


def test_values_are_of_one_type_whatever_the_number_of_objects() -> None:
    image, labels = synthetic(0, side=60, cells=3)
    for numbers in ([], [2], [1, 2, 3]):
        some = {name: np.where(np.isin(label, numbers), label, 0) for name, label in labels.items()}
        measured = measure_site(image, some, CHANNELS, "core")
        assert measured["ObjectNumber"].dtype == pl.Int64
        assert set(measured.drop("ObjectNumber").dtypes) == {pl.Float64}


def test_single_object_has_no_neighbour() -> None:
    image, labels = synthetic(0, side=60, cells=1)
    (row,) = measure_site(image, labels, CHANNELS).iter_rows(named=True)
    assert row["Cells_Neighbors_NumberOfNeighbors_Adjacent"] == 0
    assert row["Cells_Neighbors_FirstClosestObjectNumber_5"] == 0


def test_label_gaps_keep_their_numbers() -> None:
    image, labels = synthetic(0, side=60, cells=3)
    gaps = {name: label * 1000 for name, label in labels.items()}
    plain, spread = measure_site(image, labels, CHANNELS), measure_site(image, gaps, CHANNELS)
    assert spread["ObjectNumber"].to_list() == [1000, 2000, 3000]
    numbered = [name for name in plain.columns if "ObjectNumber" in name]
    np.testing.assert_array_equal(spread.drop(numbered).to_numpy(), plain.drop(numbered).to_numpy())


def test_missing_compartment_has_no_columns_and_missing_object_no_values() -> None:
    image, labels = synthetic(0, side=60, cells=3)
    nuclei = np.where(labels["Nuclei"] == 2, 0, labels["Nuclei"])
    measured = measure_site(image, {"Nuclei": nuclei, "Cells": labels["Cells"]}, CHANNELS, "core")
    assert measured["ObjectNumber"].to_list() == [1, 2, 3]
    assert np.isnan(measured["Nuclei_AreaShape_Area"][1])
    assert measured["Cells_AreaShape_Area"][1] > 0
    assert not any(name.startswith("Cytoplasm") for name in measured.columns)


def test_uint16_is_scaled_to_one() -> None:
    image, labels = synthetic(0, side=60, cells=3)
    counts = np.rint(image * 65535).astype(np.uint16)
    expected = measure_site(image, labels, CHANNELS, "core").to_numpy()
    np.testing.assert_array_equal(measure_site(counts, labels, CHANNELS, "core").to_numpy(), expected)


def test_inputs_are_left_alone() -> None:
    image, labels = synthetic(0, side=60, cells=3)
    image_before, labels_before = image.copy(), {name: label.copy() for name, label in labels.items()}
    measure_site(image, labels, CHANNELS)
    np.testing.assert_array_equal(image, image_before)
    for name, label in labels.items():
        np.testing.assert_array_equal(label, labels_before[name])


def test_two_thousand_objects() -> None:
    labels = np.kron(np.arange(1, 2001).reshape(40, 50), np.pad(np.ones((6, 6), int), 1)).astype(np.int32)
    image = np.random.default_rng(0).random((1, *labels.shape), np.float32)
    measured = measure_site(image, {"Cells": labels}, ["DNA"])
    assert measured.height == 2000
    assert measured["Cells_AreaShape_Area"].unique().to_list() == [36.0]
    assert measured["Cells_Neighbors_NumberOfNeighbors_5"].max() == 8


@pytest.mark.parametrize(
    ("image", "labels", "channels", "says"),
    [
        (np.zeros((40, 40), np.float32), {}, ["DNA"], "shape"),
        (np.zeros((1, 40, 40), np.int64), {}, ["DNA"], "int64"),
        (np.zeros((2, 40, 40), np.float32), {}, ["DNA"], "2 different names"),
        (np.full((1, 4, 4), np.nan, np.float32), {}, ["DNA"], "NaN"),
        (np.zeros((1, 4, 4), np.float32), {"Cells": np.zeros((4, 5), int)}, ["DNA"], "Cells"),
        (np.zeros((1, 4, 4), np.float32), {"Cells": np.zeros((4, 4))}, ["DNA"], "integer"),
        (np.zeros((1, 4, 4), np.float32), {"Cells": np.full((4, 4), -1)}, ["DNA"], "-1"),
    ],
    ids=["one-plane", "integers", "names", "nan", "sizes", "float-labels", "negative-labels"],
)
def test_inputs_that_do_not_fit_are_refused(image, labels, channels, says) -> None:
    with pytest.raises(InputError, match=says):
        measure_site(image, labels, channels)


def test_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"core.*jump"):
        feature_columns(CHANNELS, COMPARTMENTS, "fast")


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError):
        MeasurementConfig.model_validate({"texture": {"scales": []}})
    with pytest.raises(ValidationError):
        MeasurementConfig.model_validate({"textures": None})


def test_modules_can_be_switched_and_set() -> None:
    config = MeasurementConfig.model_validate(
        {"texture": {"scales": [2], "gray_levels": 8}, "granularity": None, "radial_distribution": {"bins": 2}}
    )
    image, labels = synthetic(0, side=60, cells=3)
    measured = measure_site(image, labels, CHANNELS, config)
    assert "Cells_Texture_Entropy_DNA_2_03_8" in measured.columns
    assert "Cells_RadialDistribution_FracAtD_DNA_2of2" in measured.columns
    assert not any("Granularity" in name for name in measured.columns)


def test_importing_the_room_does_not_import_numba() -> None:
    code = "import sys, morpho_assets.measure; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_second_process_compiles_nothing() -> None:
    code = """
import numpy as np
from morpho_assets.measure import edge_distance, measure_site
labels = np.zeros((40, 40), np.int32); labels[5:20, 5:20] = 1
measure_site(np.full((1, 40, 40), 0.5, np.float32), {"Cells": labels}, ["DNA"], "core")
stats = edge_distance.run_distances.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
    runs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    ]
    assert runs[1] == ["1", "0"]
