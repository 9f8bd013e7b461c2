"""Planes of Zarr arrays as files: pixels as zarr itself reads them, stamps that follow their chunks, and damage."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
import zarr

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.images import image_stamps
from morpho_assets.gallery.samplesheet import plate_rows, plate_sites, read_samplesheet
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.zarr_planes import PlaneName, named_planes
from morpho_assets.imaging.planes import pixel_size

SHAPE = (2, 3, 50, 70)


def written(path: Path, zarr_format: int = 3, **how: object) -> np.ndarray:
    """An array of (2, 3) planes on disk."""
    values = np.random.default_rng(0).integers(1, 60_000, SHAPE, dtype=np.uint16)
    given = {"chunks": (1, 2, 32, 32), **how}
    array = zarr.create_array(str(path), shape=SHAPE, dtype=values.dtype, zarr_format=zarr_format, **given)
    array[...] = values
    return values


def read(path: Path, *index: int) -> np.ndarray:
    return tifffile.imread(io.BytesIO(Store().read(str(PlaneName(str(path), index))).body))


@pytest.mark.parametrize(
    ("zarr_format", "how"),
    [(3, {}), (3, {"chunks": (1, 1, 25, 35), "shards": (2, 3, 50, 70)}), (2, {}),
     (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}, "chunks": (1, 1, 50, 70)})],
    ids=["chunks over planes", "sharded", "format 2", "format 2, folders"],
)  # fmt: skip
def test_every_plane_has_the_pixels_that_zarr_reads(tmp_path: Path, zarr_format: int, how: dict[str, object]) -> None:
    values = written(tmp_path / "a.zarr", zarr_format, **how)
    for place in itertools.product(range(2), range(3)):
        np.testing.assert_array_equal(read(tmp_path / "a.zarr", *place), values[place])
    np.testing.assert_array_equal(read(tmp_path / "a.zarr", 4), values[1, 1])  # one number counts over both axes


def test_the_bytes_are_the_same_each_time_and_have_the_size_of_a_pixel(tmp_path: Path) -> None:
    written(tmp_path / "a.zarr")
    uri = str(PlaneName(str(tmp_path / "a.zarr"), (0, 1), 0.65))
    first, second = Store().read(uri), Store().read(uri)
    assert (first.body, first.sha256, first.stamp) == (second.body, second.sha256, second.stamp)
    assert pixel_size(first.body) == pytest.approx(0.65, rel=1e-5)
    assert PlaneName.of(uri) == PlaneName(str(tmp_path / "a.zarr"), (0, 1), 0.65)
    assert PlaneName.of("/images/a#1.tiff") is None


def test_a_stamp_follows_the_chunks_of_its_plane_and_is_that_of_the_listing(tmp_path: Path) -> None:
    values = written(tmp_path / "a.zarr", chunks=(1, 1, 50, 70))
    uris = [str(PlaneName(str(tmp_path / "a.zarr"), (0, channel))) for channel in range(3)]
    uris.append(str(PlaneName(str(tmp_path / "none.zarr"), (0,))))

    def stamps() -> list[str | None]:
        return list(image_stamps(Store(), [{"uri": uri} for uri in uris]).values())

    before = stamps()
    assert before == [*(Store().read(uri).stamp for uri in uris[:3]), None]
    zarr.open_array(str(tmp_path / "a.zarr"))[0, 1] = values[0, 1] // 2
    after = stamps()
    assert [was == now for was, now in zip(before, after, strict=True)] == [True, False, True, True]


def test_what_is_lost_damaged_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    values = written(path, chunks=(1, 1, 50, 35))
    (path / "c/0/0/0/0").unlink()
    half = read(path, 0, 0)  # a chunk that is not there is fill, as zarr says
    assert not half[:, :35].any()
    np.testing.assert_array_equal(half[:, 35:], values[0, 0][:, 35:])
    (path / "c/0/0/0/1").unlink()
    with pytest.raises(ImageError, match="has none of its chunks, such as c/0/0/0/0"):
        read(path, 0, 0)
    (path / "c/0/1/0/0").write_bytes(b"no blosc")
    with pytest.raises(ImageError, match=r"truncated or damaged .*fetch it again"):
        read(path, 0, 1)
    for index in ((2, 0), (6,), (0, 0, 0)):
        with pytest.raises(ImageError, match=r"is no plane of an array of shape \(2, 3, 50, 70\); they count from 0"):
            read(path, *index)
    with pytest.raises(ImageError, match="there is no Zarr array of format 2 or 3"):
        read(tmp_path / "b.zarr", 0)


def test_a_table_names_planes_by_number_and_says_where_one_is_missing() -> None:
    sites = pl.DataFrame({"uri": ["/a/x.zarr/0", "/a/y.tiff"], "frame": pl.Series([3, 2], dtype=pl.Int32)})
    named = named_planes(sites, "sheet.csv", [2, 3])
    assert named.rows() == [("/a/x.zarr/0#plane=3", None), ("/a/y.tiff", 2)]
    with pytest.raises(InputError, match=r"row 7: found a Zarr array, /a/x.zarr/0, and no plane"):
        named_planes(sites.with_columns(frame=pl.lit(None, pl.Int32)), "sheet.csv", [7, 8])


def test_a_samplesheet_lists_planes(tmp_path: Path) -> None:
    body = b"channel,path,plate,well,site,frame\nDNA,images.zarr/images,P1,A01,1,1\n"
    sheet = read_samplesheet(body, f"{tmp_path}/sheet.csv")
    mine = plate_rows(sheet, f"{tmp_path}/sheet.csv", "P1")
    assert plate_sites(mine, f"{tmp_path}/sheet.csv")["uri"].to_list() == [f"{tmp_path}/images.zarr/images#plane=1"]
