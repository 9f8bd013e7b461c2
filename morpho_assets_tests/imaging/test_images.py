"""Image files: what is read, and what is refused with which words."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from morpho_assets.errors import ImageError
from morpho_assets.imaging.images import read_image, read_labels, write_labels
from morpho_assets.imaging.planes import Plane

GREY = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000


def tiff(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def png_palette(grey: np.ndarray) -> bytes:
    """A PNG of 256 colours, which are greys in another order."""
    image = Image.fromarray(255 - grey).convert("P")
    image.putpalette([value for index in range(256) for value in [255 - index] * 3])
    file = io.BytesIO()
    image.save(file, "PNG")
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


STACK = np.stack([GREY, GREY[::-1], GREY // 2])


def sparse(content: bytes) -> bytes:
    """A TIFF that says of its one strip that it has no bytes, as an export that was broken off leaves it."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        place = file.pages.first.tags["StripByteCounts"].valueoffset
    return content[:place] + bytes(4) + content[place + 4 :]


def with_nan() -> np.ndarray:
    plane = np.zeros((4, 4), np.float32)
    plane[1, 2] = np.nan
    return plane


RGB = np.stack([GREY // 256, GREY // 256, GREY // 300], axis=-1).astype(np.uint8)

BAD = {
    "empty": (b"", "empty"),
    "zeros": (bytes(40359), "holds 40359 zero bytes and nothing else; .* fetch or export it again"),
    "no image": (b"well,site\nA01,1\n", "neither TIFF nor PNG"),
    "error page": (b"<?xml version='1.0'?><Error>NoSuchKey</Error>", "XML or HTML, .* export grey TIFF"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(20), "JPEG, which loses intensities .* export grey TIFF"),
    "npy": (b"\x93NUMPY" + bytes(20), "a NumPy array"),
    "truncated tiff": (tiff(GREY)[:-20], "truncated: .* fetch or export it again"),
    "truncated deflate tiff": (tiff(np.tile(GREY, (20, 20)), compression="zlib")[:-200], "truncated"),
    "sparse tiff": (sparse(tiff(GREY)), "lacks 1 of its 1 strips; fetch or export it again"),
    "truncated png": (png(GREY)[:-30], "truncated or damaged .* fetch or export it again"),
    "header only": (tiff(GREY)[:6], "truncated or damaged"),
    "rgb tiff": (tiff(RGB, photometric="rgb"), "colour image .3 samples a pixel., expected grey; export each stain"),
    "rgb png": (png(RGB), "colour image .3 samples a pixel., expected grey; export each stain"),
    "transparent": (png(np.dstack([RGB[..., :1]] * 3 + [RGB[..., 2:]])), "an opacity that differs over the image"),
    "five stains": (tiff(np.dstack([STACK[0]] * 5), planarconfig="contig"), "5 samples a pixel, expected one; name"),
    "1 bit": (png(GREY > 9000), "1 bit, black or white; export grey of 8 or 16 bits"),
    "several pages": (tiff(STACK), "3 pages, expected one; project the stack, or name each channel's plane: Frame_"),
    "samples": (tiff(STACK.transpose(1, 2, 0), planarconfig="contig"), "3 samples a pixel.*name each"),
    "nan": (tiff(with_nan()), "1 pixels that are NaN or infinite; export the raw image"),
    "float beyond 1": (tiff(np.full((4, 4), 300.0, np.float32)), r"expected values in \[0, 1\]; export the raw image"),
    "signed": (tiff(np.full((4, 4), -3, np.int16)), "int16 values from -3 to -3, expected .*; export the raw image"),
    "32 bits": (tiff(np.full((4, 4), 70000, np.uint32)), "uint32 values from 70000 to 70000, .* export the raw image"),
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


def parts(*arrays: np.ndarray, **options: object) -> bytes:
    """A TIFF of pages, the second and later ones marked as reduced images with `subfiletype`."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for array, subfile in zip(arrays, [0, *[options.pop("subfiletype", 0)] * (len(arrays) - 1)], strict=True):
            colour = "rgb" if array.ndim == 3 else "minisblack"
            writer.write(array, photometric=colour, subfiletype=subfile, metadata=None, **options)
    return file.getvalue()


GREY_RGB = np.stack([(GREY // 256).astype(np.uint8)] * 3, axis=-1)
SMALL = GREY[::2, ::2]


@pytest.mark.parametrize(
    ("content", "pixels"),
    [
        (tiff(GREY_RGB, photometric="rgb"), GREY // 256 / 255),
        (tiff(GREY_RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), GREY // 256 / 255),
        (tiff(np.stack([GREY] * 3, axis=-1), photometric="rgb"), GREY / 65535),
        (png(GREY_RGB), GREY // 256 / 255),
        (png(np.dstack([GREY_RGB, np.full((6, 8), 255, np.uint8)])), GREY // 256 / 255),
        (png(np.dstack([GREY_RGB[..., 0], np.full((6, 8), 255, np.uint8)])), GREY // 256 / 255),
        (imagecodecs.png_encode(np.stack([GREY] * 3, axis=-1)), GREY / 65535),
        (png_palette(GREY_RGB[..., 0]), GREY // 256 / 255),
        (tiff((GREY // 2).astype(np.int16)), GREY // 2 / 65535),
        (parts(GREY, SMALL, subfiletype=1), GREY / 65535),
        (parts(GREY, SMALL, SMALL[::2, ::2]), GREY / 65535),
        (parts(GREY, np.zeros((3, 4, 3), np.uint8)), GREY / 65535),
        (tiff(65535 - GREY, photometric="miniswhite"), GREY / 65535),
    ],
    ids=["rgb", "rgb-planar", "rgb-16", "png-rgb", "png-rgba", "png-la", "png-rgb-16", "png-palette", "int16",
         "thumbnail", "pyramid", "colour-thumbnail", "miniswhite"],
)  # fmt: skip
def test_one_grey_image_is_read_whatever_is_around_it(content: bytes, pixels: np.ndarray) -> None:
    np.testing.assert_allclose(read_image(content), pixels, rtol=1e-6)


def series(*stacks: np.ndarray) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        for stack in stacks:
            writer.write(stack, photometric="minisblack", metadata={"axes": "CYX"})
    return file.getvalue()


FORMS = {
    "pages": tiff(STACK),
    "ome": tiff(STACK, ome=True, metadata={"axes": "CYX"}),
    "ome planar": tiff(STACK, ome=True, planarconfig="separate", metadata={"axes": "CYX"}),
    "ome tiles": tiff(STACK, ome=True, tile=(16, 16), compression="lzw", metadata={"axes": "CYX"}),
    "imagej": tiff(STACK, imagej=True, metadata={"axes": "CYX"}),
    "imagej z": tiff(STACK[None, :, None], imagej=True, metadata={"axes": "TZCYX"}),
    "samples": tiff(STACK.transpose(1, 2, 0), planarconfig="contig"),
    "series": series(STACK, STACK[::-1]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frame", range(3))
def test_a_plane_of_many_is_named_by_its_frame(form: str, frame: int) -> None:
    np.testing.assert_allclose(read_image(FORMS[form], Plane(frame=frame)), STACK[frame] / 65535, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_planes_that_are_not_named_or_not_there_are_told(form: str) -> None:
    with pytest.raises(ImageError, match=r"[36] (pages|planes|samples).*name each channel's plane"):
        read_image(FORMS[form])
    with pytest.raises(ImageError, match=r"has 3 planes, not the one numbered 3 \(from 0\)"):
        read_image(FORMS[form], Plane(frame=3))


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_pages_that_lead_back_to_one_another_are_told(options: dict[str, object]) -> None:
    content = tiff(GREY, **options)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        order, pointer, tags = file.byteorder, "Q" if file.is_bigtiff else "I", len(page.tags)
        after = page.offset + (8 + 20 * tags if file.is_bigtiff else 2 + 12 * tags)
    loop = struct.pack(order + pointer, page.offset)
    with pytest.raises(ImageError, match="is damaged: page 1 leads back to an earlier one"):
        read_image(content[:after] + loop + content[after + len(loop) :])
    np.testing.assert_allclose(read_image(content), GREY / 65535, rtol=1e-6)


def test_series_are_images_within_a_file() -> None:
    np.testing.assert_allclose(read_image(FORMS["series"], Plane(1, 0)), STACK[2] / 65535, rtol=1e-6)
    with pytest.raises(ImageError, match=r"has 2 series, not the one numbered 2 \(from 0\)"):
        read_image(FORMS["series"], Plane(2, 0))
    with pytest.raises(ImageError, match="3 planes in series 1, expected one"):
        read_image(FORMS["series"], Plane(series=1))


def test_a_single_image_is_its_own_first_plane() -> None:
    for content in (tiff(GREY), png(GREY)):
        np.testing.assert_array_equal(read_image(content, Plane(0, 0)), read_image(content))
        with pytest.raises(ImageError, match=r"not .*one numbered 1"):
            read_image(content, Plane(frame=1))


def test_one_page_that_stands_for_a_stack_is_no_single_image() -> None:
    """ImageJ writes stacks beyond 4 GB so: one page, and a description that counts the others."""
    file = io.BytesIO()
    described = "ImageJ=1.53\nimages=3\nchannels=3\n"
    tifffile.imwrite(file, STACK[0], description=described, metadata=None, photometric="minisblack")
    content = file.getvalue() + STACK[1:].tobytes()
    with pytest.raises(ImageError, match="3 planes in one page, expected one; name each"):
        read_image(content)
    np.testing.assert_allclose(read_image(content, Plane(frame=2)), STACK[2] / 65535, rtol=1e-6)


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
