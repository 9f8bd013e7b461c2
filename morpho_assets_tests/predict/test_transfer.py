"""Which features shift between two sets of cells: against scipy, on nothing, and the published order."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import ks_2samp

from morpho_assets.errors import InputError
from morpho_assets.predict.transfer import (
    ShiftConfig,
    excess_above,
    family_of,
    ks_distance,
    ks_p_value,
    shift_of_families,
    shift_test,
)


@pytest.mark.parametrize("ties", [False, True])
def test_the_distance_is_scipy_s(ties):
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.3, 1, 120), rng.normal(0, 1.2, 90)
    if ties:
        one, two = np.round(one), np.round(two)
    d, signed = ks_distance(one, two)
    expected = ks_2samp(one, two, method="asymp")
    assert d == pytest.approx(expected.statistic)
    assert abs(signed) == d
    assert ks_p_value(d, 120, 90) == pytest.approx(expected.pvalue, rel=0.3)


def test_the_sign_says_which_is_greater():
    assert ks_distance(np.array([2.0, 3, 4]), np.array([1.0, 2, 3]))[1] > 0
    assert ks_distance(np.array([1.0, 2, 3]), np.array([2.0, 3, 4]))[1] < 0
    assert ks_distance(np.ones(3), np.ones(3)) == (0, 0)
    assert np.isnan(ks_distance(np.empty(0), np.ones(3))[0])


def test_shifted_features_are_found_and_others_are_at_chance():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(600, 3)), rng.normal(size=(900, 3))
    second[:, 2] += 1
    found = shift_test(first, second, ["same", "also", "moved"], ShiftConfig(resamples=50, at_most=0.2))
    assert found["feature"].to_list()[2] == "moved"
    assert found["kept"].to_list() == [True, True, False]
    # the distance of two unit normals one apart: 2 Phi(1/2) - 1 = 0.383
    assert found["ks"][2] == pytest.approx(0.383, abs=0.06)
    assert found["ks"][0] == pytest.approx(found["chance"][0], rel=0.5)
    assert found["n"].to_list() == [600] * 3


def test_a_constant_an_unknown_and_a_tied_feature():
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 3, (200, 3)).astype(float), rng.integers(0, 3, (300, 3)).astype(float)
    first[:, 0] = second[:, 0] = 5
    first[:, 1] = np.nan
    found = shift_test(first, second, ["constant", "unknown", "tied"], ShiftConfig(resamples=10))
    rows = {row["feature"]: row for row in found.to_dicts()}
    assert rows["constant"]["ks"] == 0
    assert rows["unknown"]["ks"] is None
    assert not rows["unknown"]["kept"]
    assert rows["tied"]["ks"] < 0.15
    with pytest.raises(InputError, match="1 and 300"):
        shift_test(first[:1], second, ["a", "b", "c"])


def test_kinds_of_features():
    kinds = {
        "Nuclei_AreaShape_Area": "AreaShape", "AreaShape_Zernike_7_1": "Zernike",
        "Cells_AreaShape_Zernike_2_2": "Zernike", "Texture_Contrast": "Texture", "Embedding_3": "Embedding",
    }  # fmt: skip
    assert {name: family_of(name) for name in kinds} == kinds


def test_the_published_order_of_kinds(reference_data):
    given = pl.read_csv(reference_data / "phenotypic_profiling/dataset_shift_ks.tsv.gz", separator="\t")
    families = shift_of_families(given.rename({"ks_mean": "ks"}))
    assert families["family"].to_list() == [
        "Zernike", "AreaShape", "RadialDistribution", "Texture", "Intensity", "Granularity"
    ]  # fmt: skip
    assert [round(value, 2) for value in families["ks"]] == [0.08, 0.18, 0.22, 0.42, 0.46, 0.49]
    assert families["features"].sum() == 149


def test_excess_is_the_area_above():
    first, second = np.array([0.1, 0.6, 0.7, 0.8]), np.array([0.2, 0.3, 0.4, 0.75])
    assert excess_above(first, second, 0.5) == pytest.approx((0.1 + 0.2 + 0.3) / 4 - 0.25 / 4)
    assert excess_above(second, first, 0.5) == -excess_above(first, second, 0.5)
    assert excess_above(first, second, 0.9) == 0
    assert np.isnan(excess_above(first, second[:0], 0.5))
    assert excess_above(first, second, 0) == pytest.approx(first.mean() - second.mean())
