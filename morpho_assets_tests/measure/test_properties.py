"""What must not change a measurement, and what must, whatever the field."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from morpho_assets.measure import measure_site
from morpho_assets_tests.measure.fields import Labels, synthetic

CHANNELS = ["DNA", "ER"]
PLACED = ("AreaShape_Center", "AreaShape_BoundingBoxM", "Location_")
NUMBERED = ("ObjectNumber",)
IMAGE_WIDE = ("Granularity_", "Correlation_RWC")
# Whether a pixel exactly on the enclosing circle counts is a matter of the last bit, in CellProfiler as here.
ROUNDED = ("Zernike_",)
SURROUNDINGS = ("Neighbors_", *IMAGE_WIDE)

fields = st.builds(
    synthetic, st.integers(0, 10**6), side=st.sampled_from([48, 61]), cells=st.integers(1, 5), channels=st.just(2)
)
# Shrinking a field does not make it easier to look at.
quick = settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def measure(image: NDArray[np.float32], labels: Labels) -> pl.DataFrame:
    return measure_site(image, labels, CHANNELS)


def assert_same(a: pl.DataFrame, b: pl.DataFrame, leave_out: tuple[str, ...], tolerance: float = 1e-6) -> None:
    assert a.height == b.height
    for name in a.columns:
        if not any(part in name for part in leave_out):
            np.testing.assert_allclose(
                b[name].to_numpy(), a[name].to_numpy(), rtol=tolerance, atol=tolerance, err_msg=name
            )


def framed(
    image: NDArray[np.float32], labels: Labels, *, before: int, after: int
) -> tuple[NDArray[np.float32], Labels]:
    """The field in a larger dark one."""
    pad = ((before, after), (before, after))
    return np.pad(image, ((0, 0), *pad)), {name: np.pad(label, pad) for name, label in labels.items()}


@quick
@given(fields, st.integers(1, 9), st.integers(1, 9))
def test_translation_moves_places_only(field: tuple[NDArray[np.float32], Labels], before: int, after: int) -> None:
    here = measure(*framed(*field, before=before, after=10 + after))
    there = measure(*framed(*field, before=before + 10, after=after))
    assert_same(here, there, (*PLACED, *ROUNDED, "Granularity_"))
    for name in here.columns:
        if any(part in name for part in PLACED) and "_Z_" not in name:
            np.testing.assert_allclose(there[name].to_numpy(), here[name].to_numpy() + 10, atol=1e-9, err_msg=name)


@quick
@given(fields, st.randoms(use_true_random=False))
def test_relabelling_reorders_rows_only(field: tuple[NDArray[np.float32], Labels], random: object) -> None:
    image, labels = field
    largest = max(int(label.max()) for label in labels.values())
    numbers = np.arange(1, largest + 1) * 7
    random.shuffle(numbers)  # type: ignore[attr-defined]
    new = np.append(0, numbers).astype(np.int32)
    before, after = measure(image, labels), measure(image, {name: new[label] for name, label in labels.items()})
    before = before.with_columns(pl.col("ObjectNumber").replace_strict(np.arange(largest + 1), new)).sort(
        "ObjectNumber"
    )
    assert_same(before, after, ("ClosestObjectNumber", "AngleBetween", "SecondClosest", "FirstClosest"))


@quick
@given(fields)
def test_distant_object_changes_image_wide_features_only(field: tuple[NDArray[np.float32], Labels]) -> None:
    image, labels = framed(*field, before=0, after=40)
    more = {name: label.copy() for name, label in labels.items()}
    for label in more.values():
        label[-8:-4, -8:-4] = 100
    before, after = measure(image, labels), measure(image, more).filter(pl.col("ObjectNumber") < 100)
    assert_same(before, after, ("Closest", "AngleBetween", *IMAGE_WIDE[1:]))


@quick
@given(fields, fields)
def test_splitting_a_field_changes_surroundings_only(
    left: tuple[NDArray[np.float32], Labels], right: tuple[NDArray[np.float32], Labels]
) -> None:
    height = max(left[0].shape[1], right[0].shape[1])
    halves = [
        (np.pad(image, ((0, 0), (12, 12 + height - image.shape[1]), (12, 12))), labels)
        for image, labels in (left, right)
    ]
    padded = [
        {name: np.pad(label, ((12, 12 + height - label.shape[0]), (12, 12))) for name, label in labels.items()}
        for _, labels in halves
    ]
    whole = measure(
        np.concatenate([image for image, _ in halves], axis=2),
        {
            name: np.hstack([padded[0][name], np.where(padded[1][name] > 0, padded[1][name] + 50, 0)])
            for name in padded[0]
        },
    )
    parts = [measure(image, labels) for (image, _), labels in zip(halves, padded, strict=True)]
    assert_same(parts[0], whole.filter(pl.col("ObjectNumber") <= 50), (*SURROUNDINGS, *ROUNDED))
    assert_same(parts[1], whole.filter(pl.col("ObjectNumber") > 50), (*SURROUNDINGS, *ROUNDED, *PLACED, *NUMBERED))


@quick
@given(fields)
def test_brightness_scales_intensities_only(field: tuple[NDArray[np.float32], Labels]) -> None:
    """Halving is exact in binary, so ranks, thresholds and ties stay; only Texture's quantisation sees it."""
    image, labels = field
    full, half = measure(image, labels), measure(image * np.float32(0.5), labels)
    scaled = [name for name in full.columns if "_Intensity_" in name and "MassDisplacement" not in name]
    np.testing.assert_allclose(half.select(scaled).to_numpy(), full.select(scaled).to_numpy() / 2, rtol=1e-6)
    assert_same(full.drop(scaled), half.drop(scaled), ("Texture_",), tolerance=1e-5)


@quick
@given(fields)
def test_no_value_is_infinite(field: tuple[NDArray[np.float32], Labels]) -> None:
    values = measure(*field).drop("ObjectNumber").to_numpy()
    assert not np.isinf(values).any()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_keep_size_and_intensity(turns: int) -> None:
    image, labels = synthetic(3, side=80, cells=5, channels=2)
    turned = measure(
        np.ascontiguousarray(np.rot90(image, turns, axes=(1, 2))),
        {name: np.ascontiguousarray(np.rot90(label, turns)) for name, label in labels.items()},
    )
    names = ("Area", "Perimeter", "ConvexArea", "MaxFeretDiameter", "MinFeretDiameter", "MaximumRadius", "EulerNumber")
    before = measure(image, labels)
    for name in names:
        column = f"Cells_AreaShape_{name}"
        np.testing.assert_allclose(turned[column].to_numpy(), before[column].to_numpy(), rtol=1e-9)
