"""Do the channels of a site show one field of view, and does no other site show the same one?

Stains of the same cells agree in where there is light and where there is none, whatever else they differ in. So the
coarse pattern of each channel (logarithm, block means, without the slow course of the illumination) is correlated with
that of the site's other channels, at every displacement at once. The peak lies at 0 where the channels lie on each
other, elsewhere where one is shifted, and there is none where a channel belongs to another field.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pattern = NDArray[np.float64]

FIELD_FLAGS = ("flag_shifted", "flag_other_field", "flag_repeated")
FINGERPRINT_SIDE = 32  # blocks: cells still differ, pixel noise is averaged away
_CLIP = 4.0  # standard deviations: one bright speck must not speak for the whole field
_SMOOTHING = 1.0  # blocks: stains that fill a cell's parts between them agree in the cell
_BLOCK_OF_SITES = 1024


class FieldConfig(BaseModel):
    """When channels do not lie on each other, and when two sites are one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    working_size: int = Field(default=128, ge=32, description="side, pixels, to which images are averaged for this")
    least_agreement: float = Field(
        default=0.3, ge=0, le=1, description="correlation with the other channels below which a field is another one"
    )
    least_shift: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="displacement, share of the image's side, from which a channel is shifted",
    )
    shift_gain: float = Field(
        default=0.8,
        gt=0,
        lt=1,
        description="a channel is shifted where it agrees in place less than this share of its peak",
    )
    same_field: float = Field(
        default=0.8, gt=0, le=1, description="correlation of two sites from which they show the same field"
    )


def measure_field(
    image: NDArray[np.float32], config: FieldConfig | None = None
) -> tuple[pl.DataFrame, list[float] | None]:
    """How each channel of one raw site lies on the other channels; and the site's fingerprint.

    `image` is (C, H, W) in [0, 1]. Returns a frame of C rows: `Field_Agreement` (correlation in place, -1 to 1),
    `Field_Peak` (the largest at any displacement), `Field_Shift_X`, `Field_Shift_Y` (pixels from the others to this
    channel at that peak); null where the channel or all others are constant. A channel out of place, or noise, is
    left out of what the others are compared with; of two channels alone nobody knows which it is. The fingerprint is
    the channels' common pattern, 1024 floats, or None where all are constant.
    """
    config = config or FieldConfig()
    patterns = {
        channel: _pattern(plane, config.working_size) for channel, plane in enumerate(image) if np.ptp(plane) > 0
    }
    trusted = set(patterns)
    places = _places(patterns, trusted, image.shape[1:])
    while len(trusted) > 2:
        worst = min(trusted, key=lambda channel: places[channel]["Field_Agreement"])
        if not _is_out_of_place(places[worst], image.shape[1:], config):
            break
        trusted.remove(worst)
        places = _places(patterns, trusted, image.shape[1:])
    frame = pl.DataFrame([places.get(channel, {}) for channel in range(len(image))], schema=_FIELD)
    return frame, _fingerprint(np.sum(list(patterns.values()), axis=0)) if patterns else None


def flag_fields(
    quality: pl.DataFrame, fingerprints: pl.DataFrame, config: FieldConfig | None = None, least_sites: int = 8
) -> pl.DataFrame:
    """Add `flag_shifted`, `flag_other_field`, `flag_repeated` and `same_field_as` to a plate's image quality.

    `quality` has a row per site and channel with the columns of `measure_field` and the flags of `flag_quality`: an
    empty or saturated channel, or one with bright debris, says nothing about its place. A dim channel that agrees with
    the others shows the cells: its `flag_empty` is taken back. `fingerprints` has a row per
    site: Metadata_Well, Metadata_Site, `fingerprint`. Of sites that show the same field all are flagged, and
    `same_field_as` names the first of them in the plate's order (`A01-1`); null elsewhere. The pattern that all sites
    of a plate share (dust on the camera) is left out from `least_sites` sites on.
    """
    config = config or FieldConfig()
    empty = pl.col("flag_empty") & ~(pl.col("Field_Agreement") >= config.least_agreement).fill_null(False)
    judged = ~(empty | pl.col("flag_saturated") | pl.col("flag_debris"))
    shift = pl.max_horizontal(pl.col("Field_Shift_X").abs(), pl.col("Field_Shift_Y").abs())
    side = pl.col("ImageQuality_TotalArea").sqrt()
    agreement, peak = pl.col("Field_Agreement"), pl.col("Field_Peak")
    # Among few cells another field finds a match somewhere by chance, but not as good as the channel's own.
    matched = peak >= pl.max_horizontal(config.least_agreement, 0.8 * peak.median().over("channel"))
    shifted = (shift >= config.least_shift * side) & matched & (agreement < config.shift_gain * peak)
    other = agreement < config.least_agreement
    same = same_fields(fingerprints, config.same_field, least_sites)
    frame = quality.join(same, on=["Metadata_Well", "Metadata_Site"], how="left", maintain_order="left")
    flags = (judged & shifted, judged & other & ~shifted, pl.col("same_field_as").is_not_null())
    named = [flag.fill_null(False).alias(name) for flag, name in zip(flags, FIELD_FLAGS, strict=True)]
    return frame.with_columns(empty.alias("flag_empty"), *named)


def flag_same_picture(quality: pl.DataFrame, pictures: pl.DataFrame) -> pl.DataFrame:
    """Add `flag_same_picture`: another channel of the site has the same file and plane, byte by byte.

    `quality` has a row per site and channel; `pictures` has Metadata_Well, Metadata_Site, channel and `content`, which
    is equal for equal pictures, of every image.
    """
    site = ["Metadata_Well", "Metadata_Site"]
    again = pl.struct(*site, "content").is_duplicated().alias("flag_same_picture")
    return quality.join(
        pictures.select(*site, "channel", again), on=[*site, "channel"], how="left", maintain_order="left"
    )


def same_fields(fingerprints: pl.DataFrame, threshold: float = 0.8, least_sites: int = 8) -> pl.DataFrame:
    """The sites that show a field which another site shows too: Metadata_Well, Metadata_Site, `same_field_as`.

    `fingerprints` has a row per site with Metadata_Well, Metadata_Site and `fingerprint` (null where there is none),
    in the plate's order. Chains count as one group: it is named by its first site.
    """
    from scipy import sparse

    known = fingerprints.filter(pl.col("fingerprint").is_not_null())
    keys = known.select("Metadata_Well", "Metadata_Site")
    none = keys.clear().with_columns(same_field_as=pl.lit(None, pl.String))
    if known.height < 2:
        return none
    patterns = np.array(known["fingerprint"].to_list(), np.float32)
    if len(patterns) >= least_sites:
        patterns -= np.median(patterns, axis=0)
    patterns -= patterns.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(patterns, axis=1, keepdims=True)
    patterns /= np.where(norms > 0, norms, 1)
    pairs = [np.zeros((2, 0), np.intp)]
    for start in range(0, len(patterns), _BLOCK_OF_SITES):
        alike = np.array(np.nonzero(patterns[start : start + _BLOCK_OF_SITES] @ patterns.T >= threshold))
        alike[0] += start
        pairs.append(alike[:, alike[0] > alike[1]])
    rows, columns = np.concatenate(pairs, axis=1)
    links = sparse.coo_array((np.ones(rows.size, bool), (rows, columns)), shape=(len(patterns), len(patterns)))
    _, group = sparse.csgraph.connected_components(links, directed=False)
    _, first, size = np.unique(group, return_index=True, return_counts=True)
    names = np.array([f"{well}-{site}" for well, site in keys.iter_rows()])
    column = pl.Series("same_field_as", names[first[group]], dtype=pl.String)
    return keys.with_columns(column).filter(pl.Series(size[group] > 1))


_FIELD = dict.fromkeys(("Field_Agreement", "Field_Peak", "Field_Shift_X", "Field_Shift_Y"), pl.Float64)


def _pattern(plane: NDArray[np.float32], side: int) -> Pattern:
    """(side, side) block means of the logarithm's detail, mean 0 and SD 1; a smaller image stays its size."""
    from scipy import ndimage

    small = _block_means(plane, side)
    light = ndimage.gaussian_filter(np.log(np.maximum(small, 1e-6)), _SMOOTHING)
    detail = light - ndimage.gaussian_filter(light, side / 8)
    spread = float(detail.std())
    return _standard((detail - detail.mean()).clip(-_CLIP * spread, _CLIP * spread))


def _standard(pattern: Pattern) -> Pattern:
    spread = float(pattern.std())
    return (pattern - pattern.mean()) / spread if spread > 0 else np.zeros_like(pattern)


def _block_means(plane: NDArray[np.floating], side: int) -> Pattern:
    from morpho_assets.imaging.quality_kernels import block_sums

    rows, columns = (np.append(np.unique(np.arange(side) * extent // side), extent) for extent in plane.shape)
    sums, squares = np.zeros((2, len(rows) - 1, len(columns) - 1))
    block_sums(plane, rows, columns, sums, squares)
    return sums / np.outer(np.diff(rows), np.diff(columns))


def _places(patterns: dict[int, Pattern], trusted: set[int], shape: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Where each channel lies on the sum of the trusted others; nothing for a channel without any."""
    found = {}
    for channel, pattern in patterns.items():
        others = [patterns[other] for other in trusted if other != channel]
        if others:
            found[channel] = _place(pattern, np.sum(others, axis=0), shape)
    return found


def _place(pattern: Pattern, others: Pattern, shape: tuple[int, ...]) -> dict[str, float]:
    """Where a channel's pattern lies on the others', by their cyclic cross-correlation."""
    from scipy import fft

    height, width = pattern.shape
    surface = fft.irfft2(fft.rfft2(pattern) * np.conj(fft.rfft2(_standard(others))), s=pattern.shape) / pattern.size
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    down = (int(row) + height // 2) % height - height // 2
    right = (int(column) + width // 2) % width - width // 2
    return {
        "Field_Agreement": float(surface[0, 0]),
        "Field_Peak": float(surface[row, column]),
        "Field_Shift_X": right * shape[1] / width,
        "Field_Shift_Y": down * shape[0] / height,
    }


def _is_out_of_place(place: dict[str, float], shape: tuple[int, ...], config: FieldConfig) -> bool:
    shift = max(abs(place["Field_Shift_X"]) / shape[1], abs(place["Field_Shift_Y"]) / shape[0])
    moved = shift >= config.least_shift and place["Field_Agreement"] < config.shift_gain * place["Field_Peak"]
    return place["Field_Agreement"] < config.least_agreement or moved


def _fingerprint(pattern: Pattern) -> list[float]:
    return _standard(_block_means(pattern, FINGERPRINT_SIDE)).astype(np.float32).ravel().tolist()
