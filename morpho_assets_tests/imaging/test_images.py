"""Image files: what is read, and what is refused with which words."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from morpho_assets.errors import ImageError
from morpho_assets.imaging.images import read_image, read_labels, write_labels

GREY = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000


def tiff(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_of_16_bits_is_divided_by_65535(compression: str | None) -> None:
    plane = read_image(tiff(GREY, compression=compression, photometric="minisblack"))
    assert plane.dtype == np.float32
    np.testing.assert_array_equal(plane, GREY.astype(np.float32) / np.float32(65535))


def test_8_bit_tiff_and_png_are_divided_by_255() -> None:
    grey = np.array([[0, 51, 255]], np.uint8)
    np.testing.assert_allclose(read_image(tiff(grey)), [[0, 0.2, 1]], rtol=1e-6)
    np.testing.assert_allclose(read_image(png(grey)), [[0, 0.2, 1]], rtol=1e-6)


def test_16_bit_png_and_float_tiff() -> None:
    np.testing.assert_allclose(read_image(png(GREY)), GREY / 65535, rtol=1e-6)
    np.testing.assert_array_equal(read_image(tiff(np.full((3, 4), 0.25, np.float64))), np.full((3, 4), 0.25))


def with_nan() -> np.ndarray:
    plane = np.zeros((4, 4), np.float32)
    plane[1, 2] = np.nan
    return plane


BAD = {
    "empty": (b"", "empty"),
    "no image": (b"well,site\nA01,1\n", "neither TIFF nor PNG"),
    "truncated tiff": (tiff(GREY)[:-20], "truncated"),
    "truncated deflate tiff": (tiff(np.tile(GREY, (20, 20)), compression="zlib")[:-200], "truncated"),
    "truncated png": (png(GREY)[:-30], "truncated or damaged"),
    "header only": (tiff(GREY)[:6], "truncated or damaged"),
    "rgb tiff": (tiff(np.zeros((6, 8, 3), np.uint8), photometric="rgb"), "colour"),
    "rgb png": (png(np.zeros((6, 8, 3), np.uint8)), "mode RGB"),
    "several pages": (tiff(np.zeros((3, 6, 8), np.uint16), photometric="minisblack"), "3 pages"),
    "nan": (tiff(with_nan()), "1 pixels that are NaN"),
    "float beyond 1": (tiff(np.full((4, 4), 300.0, np.float32)), r"expected values in \[0, 1\]"),
    "signed": (tiff(np.zeros((4, 4), np.int16)), "int16"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_its_reason_and_name(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(ImageError, match=f"field.tiff.*{reason}"):
        read_image(content, name="field.tiff")


def test_wrong_size_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is 6 x 8 pixels, expected 8 x 8"):
        read_image(tiff(GREY), shape=(8, 8))
    with pytest.raises(ImageError, match=r"gone.tiff: cannot be read"):
        read_image(tmp_path / "gone.tiff")


def test_grey_palettes_of_old_microscopes_are_read_and_others_refused() -> None:
    grey, ramp = np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(256, dtype=np.uint16) * 257
    as_palette = tiff(grey, photometric="palette", colormap=np.stack([ramp] * 3))
    np.testing.assert_allclose(read_image(as_palette), grey / 255, rtol=1e-6)
    with pytest.raises(ImageError, match="palette"):
        read_image(tiff(grey, photometric="palette", colormap=np.stack([ramp, ramp, ramp[::-1]])))


@given(arrays.arrays(np.int32, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.integers(0, 2**31 - 1)))
def test_labels_come_back(labels: np.ndarray) -> None:
    content = write_labels(labels)
    back = read_labels(content)
    assert back.dtype == np.int32
    np.testing.assert_array_equal(back, labels)
    assert content == write_labels(labels)


@pytest.mark.parametrize(("largest", "dtype"), [(65535, np.uint16), (65536, np.uint32)])
def test_labels_are_16_bit_where_they_fit(largest: int, dtype: type) -> None:
    assert tifffile.imread(io.BytesIO(write_labels(np.array([[0, largest]])))).dtype == dtype


def test_what_is_no_label_image_is_refused() -> None:
    with pytest.raises(ImageError, match="labels are integers"):
        read_labels(tiff(np.zeros((3, 3), np.float32)))
    with pytest.raises(ImageError, match="labels from -1"):
        read_labels(tiff(np.full((3, 3), -1, np.int16)))
    with pytest.raises(ImageError, match="expected 2 x 2"):
        read_labels(write_labels(np.zeros((3, 3), int)), shape=(2, 2))
    with pytest.raises(ValueError, match="numbers from 0 on"):
        write_labels(np.array([[-1]]))


def test_files_of_the_gallery_and_of_bbbc013(reference_data: Path) -> None:
    field = next((reference_data / "gallery").rglob("r04c14f05p01-ch5*.tiff"))
    assert read_image(field).shape == (1080, 1080)
    assert read_image(reference_data / "bbbc013_sbs" / "Channel1-01-A-01.tif").shape == (640, 640)
