"""Channels of one field, and fields of one plate: what is shifted, foreign or repeated is found, the rest is silent."""

import numpy as np
import polars as pl
import pytest
import tifffile
from scipy import ndimage

from morpho_assets.imaging.fields import FIELD_FLAGS, flag_fields, flag_same_picture, measure_field, same_fields
from morpho_assets.imaging.quality import flag_quality, measure_quality, plate_faults

STAINS = ["DNA", "RNA", "AGP"]


def field(seed: int, cells: int = 25) -> np.ndarray:
    """(3, 192, 192): nuclei, cytoplasm that is dimmer over the nucleus, and its brighter rim, under one vignette."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:192, :192]
    planes = np.full((3, 192, 192), 0.02)
    for y, x in rng.uniform(0, 192, (cells, 2)):
        far = np.hypot(row - y, column - x)
        planes[0] += 0.3 * (far < 6)
        planes[1] += 0.15 * (far < 14) - 0.05 * (far < 6)
        planes[2] += 0.08 * (far < 15) + 0.1 * ((far < 15) & (far > 11))
    light = 1 - 0.4 * (np.hypot(row - 96, column - 96) / 136) ** 2
    blurred = ndimage.gaussian_filter(planes, (0, 1, 1)) * light
    return (blurred + rng.normal(0, 0.002, planes.shape)).clip(0, 1).astype(np.float32)


def graded(images: list[np.ndarray]) -> pl.DataFrame:
    """Image quality with all flags of a plate whose wells show `images`."""
    parts, fingerprints = [], []
    for number, image in enumerate(images, start=1):
        quality = measure_quality(image, STAINS[: len(image)])
        frame, fingerprint = measure_field(image)
        place = {"Metadata_Well": f"A{number:02d}", "Metadata_Site": 1}
        parts.append(quality.hstack(frame).with_columns(pl.lit(value).alias(name) for name, value in place.items()))
        fingerprints.append({**place, "fingerprint": fingerprint})
    frame = flag_fields(flag_quality(pl.concat(parts)), pl.DataFrame(fingerprints))
    return frame.with_columns(flag_same_picture=pl.lit(False))


def raised(frame: pl.DataFrame) -> set[tuple[str, str, str]]:
    long = frame.unpivot(FIELD_FLAGS, index=["Metadata_Well", "channel"], variable_name="flag").filter("value")
    return set(long.select("Metadata_Well", "channel", "flag").iter_rows())


def test_whole_fields_raise_nothing():
    frame = graded([field(seed) for seed in range(10)])
    assert not raised(frame)
    assert frame["same_field_as"].null_count() == frame.height
    assert frame["Field_Agreement"].min() > 0.35
    assert plate_faults(frame) == []


def test_a_shifted_channel_is_found_with_its_displacement():
    image = field(1)
    image[1] = np.roll(image[1], (-15, 24), axis=(0, 1))
    frame = graded([image])
    assert raised(frame) == {("A01", "RNA", "flag_shifted")}
    row = frame.filter(channel="RNA").row(0, named=True)
    assert row["Field_Shift_X"] == pytest.approx(24, abs=1.5)
    assert row["Field_Shift_Y"] == pytest.approx(-15, abs=1.5)
    assert row["Field_Peak"] > 0.5 > row["Field_Agreement"]


def test_a_channel_of_another_site_is_found():
    images = [field(seed) for seed in range(10)]
    images[4][0] = field(77)[0]
    assert raised(graded(images)) == {("A05", "DNA", "flag_other_field")}


def test_the_same_field_with_new_noise_is_found_and_all_its_sites_are_named():
    images = [field(seed) for seed in range(10)]
    noise = np.random.default_rng(5).normal(0, 0.004, images[2].shape)
    images[3] = (images[2] * 0.9 + noise).clip(0, 1).astype(np.float32)
    images[7] = images[2]
    frame = graded(images)
    assert {(well, flag) for well, _, flag in raised(frame)} == {(w, "flag_repeated") for w in ("A03", "A04", "A08")}
    assert set(frame["same_field_as"].drop_nulls()) == {"A03-1"}
    assert plate_faults(frame) == ["A03-1, A04-1, A08-1 show the same field: did the stage move, or were files copied?"]


def test_a_speck_that_all_sites_share_does_not_make_them_one_field():
    images = [field(seed, cells=6) for seed in range(10)]
    for image in images:
        image[:, 60:120, 60:120] *= 0.3
    assert not {flag for _, _, flag in raised(graded(images))} & {"flag_repeated"}


def test_noise_is_empty_and_a_channel_alone_is_not_judged():
    image = field(1)
    assert not raised(graded([image[:1]]))
    image[2] = np.random.default_rng(0).normal(0.02, 0.002, image[2].shape)
    image[1] = 0
    frame = graded([image])
    assert frame["Field_Agreement"][1] is None
    assert frame["Field_Agreement"][2] < 0.3
    assert frame["flag_empty"].to_list() == [False, True, True]


def test_a_dim_channel_that_agrees_with_the_others_is_not_empty():
    image = field(1)
    image[1] = 0.01 + 0.1 * image[1]
    image[1, :3, :3] = 1  # a bright speck: coarse grey levels then show noise alone
    frame = graded([image])
    assert flag_quality(measure_quality(image, STAINS)).filter(channel="RNA")["flag_empty"].item()
    assert not frame["flag_empty"].any()


def test_no_site_and_no_fingerprint_are_no_same_field():
    schema = {"Metadata_Well": pl.String, "Metadata_Site": pl.Int32, "fingerprint": pl.List(pl.Float32)}
    assert same_fields(pl.DataFrame(schema=schema)).is_empty()
    empty = pl.DataFrame(
        {"Metadata_Well": ["A01", "A02"], "Metadata_Site": [1, 1], "fingerprint": [None, None]}, schema
    )
    assert same_fields(empty).is_empty()


def test_a_flag_on_many_images_is_the_plate_s_fault_and_says_by_how_much():
    images = [field(seed) for seed in range(10)]
    for image in images[:4]:
        image[1] = np.roll(image[1], 24, axis=1)
    (sentence,) = plate_faults(graded(images))
    assert sentence.startswith("RNA: 4 of 10 images (by +24 pixels in X, +0 in Y) shifted against the other channels")
    assert plate_faults(graded(images[3:])) == []


def test_real_fields_are_silent_until_one_is_spoilt(reference_data):
    """Four wells of CPJUMP1, one of them almost without living cells."""
    folder = next((reference_data / "gallery").rglob("Images"))
    wells = sorted({path.name[:6] for path in folder.glob("*.tiff")})
    order = {"DNA": 5, "RNA": 3, "Mito": 1}
    images = [
        np.stack([tifffile.imread(next(folder.glob(f"{well}*-ch{n}sk*"))) for n in order.values()]) / np.float32(65535)
        for well in wells
    ]
    assert len(images) == 4
    assert not raised(graded(images))
    for channel, stain in enumerate(STAINS):
        spoilt = [image.copy() for image in images]
        spoilt[0][channel] = images[1][channel]
        spoilt[2][channel] = np.roll(images[2][channel], 60, axis=0)
        assert raised(graded(spoilt)) == {("A01", stain, "flag_other_field"), ("A03", stain, "flag_shifted")}


def test_channels_that_are_one_picture_are_flagged_and_planes_of_one_file_are_not() -> None:
    keys = {"Metadata_Well": ["A01"] * 3 + ["A02"] * 3, "Metadata_Site": [1] * 6, "channel": ["DNA", "RNA", "ER"] * 2}
    pictures = pl.DataFrame({**keys, "content": ["a", "a", "b", "c 0 0", "c 0 1", "c 0 1"]})
    flagged = flag_same_picture(pl.DataFrame(keys), pictures)
    assert flagged["flag_same_picture"].to_list() == [True, True, False, False, True, True]
    frame = graded([field(1), field(2)]).drop("flag_same_picture")
    assert plate_faults(flag_same_picture(frame, pictures.with_columns(channel=pl.Series(STAINS * 2)))) == [
        "DNA and RNA are one picture at 1 of 2 sites: correct load_data, or export the channel again",
        "RNA and AGP are one picture at 1 of 2 sites: correct load_data, or export the channel again",
    ]
