"""Image files as microscopes and programs write them."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from morpho_assets.imaging.images import read_image
from morpho_assets.imaging.planes import ONLY, Plane
from morpho_assets_tests.gallery.cases import CASES, Case, refused

AREA = "Images"
GREY = (np.arange(2560, dtype=np.uint16).reshape(40, 64) * 25).astype(np.uint16)
BYTES = (GREY // 256).astype(np.uint8)
STACK = np.stack([GREY, GREY[::-1], GREY // 2])


def tiff(*arrays: np.ndarray, subfiletype: int = 0, **options: object) -> bytes:
    """A TIFF of pages; those after the first may be marked as reduced images."""
    file = io.BytesIO()
    keep = {key: options.pop(key) for key in ("bigtiff", "byteorder", "imagej", "ome") if key in options}
    with tifffile.TiffWriter(file, **keep) as writer:
        for number, array in enumerate(arrays):
            options.setdefault("photometric", "minisblack")
            writer.write(array, subfiletype=subfiletype if number else 0, **options)
    return file.getvalue()


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def entered(
    what: str, content: bytes, pixels: np.ndarray = GREY / 65535, plane: Plane = ONLY, outcome: str = "read"
) -> None:
    def run(folder: Path) -> None:
        found = read_image(content, plane)
        np.testing.assert_allclose(found, pixels, rtol=1e-6)

    CASES.append(Case(AREA, what, outcome, run))


def refusing(what: str, content: bytes, message: str, outcome: str, plane: Plane = ONLY) -> None:
    def run(folder: Path) -> None:
        with refused(message):
            read_image(content, plane)

    CASES.append(Case(AREA, what, f"a row of `site_failures`: {outcome}", run))


for compression in ("zlib", "lzw", "zstd", "lzma", "packbits", "jpeg2000", "png"):
    entered(f"TIFF, 16 bits, {compression}", tiff(GREY, compression=compression))
entered("TIFF, LZW with a predictor", tiff(GREY, compression="lzw", predictor=True))
entered("BigTIFF", tiff(GREY, bigtiff=True))
entered("TIFF of a big-endian machine", tiff(GREY, byteorder=">"))
entered("TIFF in tiles", tiff(GREY, tile=(16, 16)))
entered("TIFF or PNG, 8 bits", tiff(BYTES), BYTES / 255, outcome="read, divided by 255")
entered("TIFF of floats in [0, 1]", tiff((GREY / 65535).astype(np.float32)))
entered("TIFF, white is zero", tiff(65535 - GREY, photometric="miniswhite"))
entered(
    "TIFF, int16 without negative values (ScanR)",
    tiff((GREY // 2).astype(np.int16)),
    GREY // 2 / 65535,
    outcome="read as uint16",
)
entered("grey RGB, 8 or 16 bits", tiff(np.stack([GREY] * 3, axis=-1), photometric="rgb"))
entered("PNG, 16 bits", png(GREY))
entered("PNG, grey RGB", png(np.stack([BYTES] * 3, axis=-1)), BYTES / 255)
entered("PNG, grey RGB of 16 bits", imagecodecs.png_encode(np.stack([GREY] * 3, axis=-1)))
entered("PNG, opaque RGBA or grey with opacity", png(np.dstack([BYTES] * 3 + [np.full_like(BYTES, 255)])), BYTES / 255)
entered("a thumbnail page beside the image", tiff(GREY, GREY[::4, ::4], subfiletype=1, metadata=None))
entered("levels of a pyramid as pages", tiff(GREY, GREY[::2, ::2], GREY[::4, ::4], metadata=None))
entered("OME-TIFF of one stain", tiff(GREY, ome=True))
for what, content in {
    "OME-TIFF of several stains": tiff(STACK, ome=True, metadata={"axes": "CYX"}),
    "ImageJ hyperstack": tiff(STACK, imagej=True, metadata={"axes": "CYX"}),
    "pages of one TIFF": tiff(STACK),
    "samples of one pixel": tiff(STACK.transpose(1, 2, 0), planarconfig="contig"),
}.items():
    entered(f"{what}, the plane named by `Frame_`", content, STACK[1] / 65535, Plane(frame=1))
    refusing(f"{what}, no plane named", content, "name each channel's plane: Frame_", "name the plane")
refusing(
    "a plane that the file does not have",
    tiff(STACK),
    "has 3 planes, not the one numbered 7",
    "correct Frame_",
    Plane(frame=7),
)
refusing("zero bytes", b"", "is empty (zero bytes)", "fetch it again")
refusing(
    "full size, every byte zero", bytes(5000), "holds 5000 zero bytes and nothing else", "fetch or export it again"
)
refusing("cut in the middle", tiff(GREY)[:-900], "is truncated", "fetch or export it again")
refusing("compressed and cut", tiff(GREY, compression="zlib")[:-90], "is truncated", "fetch or export it again")
refusing(
    "floats that are counts",
    tiff((GREY / 1).astype(np.float32)),
    "expected values in [0, 1]; export the raw image",
    "export the raw image",
)
refusing("negative int16", tiff(GREY.astype(np.int16) - 5), "holds int16 values", "export the raw image")
refusing("uint32", tiff(GREY.astype(np.uint32) * 100), "holds uint32 values", "export the raw image")
refusing(
    "a colour picture",
    tiff(np.dstack([BYTES, BYTES, 255 - BYTES]), photometric="rgb"),
    "is a colour image",
    "export each stain",
)
refusing("1 bit", png(GREY > 9000), "1 bit, black or white", "export 8 or 16 bits")
refusing("NaN", tiff(np.full((8, 8), np.nan, np.float32)), "NaN or infinite", "export the raw image")
for kind, magic in {
    "JPEG": b"\xff\xd8\xff\xe0",
    "BMP": b"BM",
    "a NumPy array": b"\x93NUMPY",
    "XML or HTML": b"<Error>NoSuchKey",
}.items():
    refusing(f"{kind}", magic + bytes(range(40)), f"is neither TIFF nor PNG, but {kind}", "export grey TIFF")
