"""Is this image worth measuring? CellProfiler's MeasureImageQuality per channel, and flags a person can act on.

The values are those of CellProfiler 4.2 (https://cellprofiler-manual.s3.amazonaws.com/CellProfiler-4.2.1/modules/measurement.html,
Bray et al. 2012, doi:10.1177/1087057111420292) on the raw image, before illumination correction. Flags are columns;
nothing is removed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from morpho_assets.imaging.fields import FieldConfig
from morpho_assets.imaging.grey_levels import GreyLevels, median_of

GREY_LEVELS = 8  # of the Haralick correlation, as in CellProfiler
MAD_TO_SD = 1.4826
CLIPPED_FROM = 0.03  # intensity: a maximum that pixels share tells of clipping; below it 8 bits have too few levels

FLAGS = ("flag_out_of_focus", "flag_saturated", "flag_empty", "flag_debris")


class QualityConfig(BaseModel):
    """What is measured on each raw channel, and when a site is flagged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scales: tuple[int, ...] = Field(
        default=(5, 10, 20, 50), description="scales of LocalFocusScore and Correlation, pixels"
    )
    otsu_two_classes: tuple[str, ...] = Field(default=("DNA",), description="channels with a two-class Otsu threshold")
    otsu_three_classes: tuple[str, ...] = Field(
        default=("RNA",), description="channels with a three-class Otsu threshold, middle class counted as foreground"
    )
    full_scale: float = Field(
        default=65535.0,
        gt=0,
        le=65535,
        description="grey value of a saturated pixel, reported as Scaling: 4095 for 12 bits in files of 16 bits; "
        "255 or less: files of 8 bits",
    )
    focus_slope: float = Field(default=-2.8, description="PowerLogLogSlope below which any image is out of focus")
    focus_z: float = Field(
        default=5.0,
        gt=0,
        description="robust z below the plate's median PowerLogLogSlope at which a site is out of focus",
    )
    saturated_percent: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="percent of pixels at full scale, or at one maximum below it, from which a site is saturated",
    )
    empty_correlation: float = Field(
        default=0.2, description="Correlation at the smallest scale below which an image is noise without objects"
    )
    debris_z: float = Field(
        default=8.0, gt=0, description="robust z above the plate of StdIntensity at which bright debris is suspected"
    )
    least_sites: int = Field(
        default=8, ge=3, description="sites of a plate and channel from which robust z are computed"
    )
    fields: FieldConfig = Field(
        default=FieldConfig(), description="whether a site's channels show one field, and no other site the same"
    )
    plate_share: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="share of a channel's sites with the same flag from which the plate is at fault",
    )

    @field_validator("scales")
    @classmethod
    def _some_pixels(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if not scales or min(scales) < 1:
            raise ValueError("at least one scale, each of 1 pixel or more")
        return scales

    @property
    def saturated_intensity(self) -> float:
        """`full_scale` as an intensity in [0, 1], half a grey level less."""
        return (self.full_scale - 0.5) / (255 if self.full_scale <= 255 else 65535)


def measure_quality(
    image: NDArray[np.float32], channels: Sequence[str], config: QualityConfig | None = None
) -> pl.DataFrame:
    """ImageQuality of each channel of one raw site.

    `image` is (C, H, W) in [0, 1], before illumination correction; `channels` names its C planes. Returns one row
    per channel: `channel`, then Float64 columns named as CellProfiler's without the image's name
    (`ImageQuality_Correlation_5`, `ImageQuality_ThresholdOtsu_2W` …). A threshold is null for channels that do not
    have it. A constant image has focus scores and slope 0 and correlation NaN, as in CellProfiler.
    """
    config = config or QualityConfig()
    if image.ndim != 3 or len(channels) != image.shape[0]:
        raise ValueError(f"image of shape {image.shape} does not have the {len(channels)} channels {list(channels)}")
    rows = [
        {"channel": name, **_channel_quality(plane, name, config)} for name, plane in zip(channels, image, strict=True)
    ]
    return pl.DataFrame(rows, schema={"channel": pl.String} | dict.fromkeys(quality_columns(config), pl.Float64))


def quality_columns(config: QualityConfig) -> list[str]:
    """The columns that `measure_quality` gives beside `channel`."""
    per_scale = [f"{name}_{scale}" for name in ("Correlation", "LocalFocusScore") for scale in config.scales]
    single = [
        "FocusScore", "MADIntensity", "MaxIntensity", "MeanIntensity", "MedianIntensity", "MinIntensity",
        "PercentMaximal", "PercentMinimal", "PowerLogLogSlope", "Scaling", "StdIntensity",
        "ThresholdOtsu_2W", "ThresholdOtsu_3FW", "TotalArea", "TotalIntensity",
    ]  # fmt: skip
    return [f"ImageQuality_{name}" for name in sorted([*per_scale, *single])]


def _channel_quality(plane: NDArray[np.float32], channel: str, config: QualityConfig) -> dict[str, float | None]:
    levels = GreyLevels.of(plane)
    values: dict[str, float | None] = dict(_intensity(levels))
    values["PowerLogLogSlope"] = power_slope(plane)
    few = _eight_levels(levels)
    for scale in config.scales:
        values[f"LocalFocusScore_{scale}"] = local_focus_score(plane, scale)
        values[f"Correlation_{scale}"] = _haralick_correlation(few, scale)
    values["Scaling"] = config.full_scale
    values["ThresholdOtsu_2W"] = otsu_threshold(levels, 2) if channel in config.otsu_two_classes else None
    values["ThresholdOtsu_3FW"] = otsu_threshold(levels, 3) if channel in config.otsu_three_classes else None
    return {f"ImageQuality_{name}": value for name, value in values.items()}


def _intensity(levels: GreyLevels) -> dict[str, float]:
    """Also FocusScore, the variance over the mean, 0 where the mean is 0."""
    values, counts = levels.known
    size, median = int(counts.sum()), median_of(values, counts)
    away = np.abs(values - np.float32(median))
    order = np.argsort(away, kind="stable")
    double = values.astype(np.float64)
    total = float(double @ counts)
    mean = total / size
    variance = float((double - mean) ** 2 @ counts) / size
    return {
        "MinIntensity": float(values[0]),
        "MaxIntensity": float(values[-1]),
        "MedianIntensity": median,
        "MADIntensity": median_of(away[order], counts[order]),
        "MeanIntensity": mean,
        "StdIntensity": float(np.sqrt(variance)),
        "TotalIntensity": total,
        "TotalArea": float(size),
        "PercentMaximal": 100 * float(counts[-1]) / size,
        "PercentMinimal": 100 * float(counts[0]) / size,
        "FocusScore": variance / mean if mean > 0 else 0.0,
    }


def local_focus_score(plane: NDArray[np.float32], scale: int) -> float:
    """Variance over median of the blocks' own focus scores (variance over mean); blocks are about `scale` pixels.

    The image is cut into ceil(H / scale) x ceil(W / scale) nearly equal blocks. Blocks with mean 0 do not count;
    0 where none is left or the median is 0.
    """
    from morpho_assets.imaging.quality_kernels import block_sums

    rows, columns = (_block_edges(extent, scale) for extent in plane.shape)
    totals, squares = np.zeros((2, len(rows) - 1, len(columns) - 1))
    block_sums(plane, rows, columns, totals, squares)
    pixels = np.outer(np.diff(rows), np.diff(columns))
    mean = totals / pixels
    variance = squares / pixels - mean**2
    scores = np.maximum(variance[mean != 0], 0) / mean[mean != 0]
    middle = float(np.median(scores)) if scores.size else 0.0
    return float(scores.var()) / middle if middle > 0 else 0.0


def _block_edges(extent: int, scale: int) -> NDArray[np.int64]:
    count = (extent + scale - 1) // scale
    block = (np.arange(extent) * float(count) / float(extent)).astype(np.int64)
    return np.append(np.flatnonzero(np.diff(block, prepend=-1)), extent)


def power_slope(plane: NDArray[np.float32]) -> float:
    """Slope of log power against log radius of the image's spectrum: blur steepens it, noise flattens it.

    Radii from 2 to an eighth of the shorter side; the power of a radius is summed, not averaged, over its pixels.
    0 for a constant image or one too small to have two radii.
    """
    radius, power = _radial_power(plane)
    known = power > 0
    if known.sum() < 2:
        return 0.0
    return float(np.polyfit(np.log(radius[known]), np.log(power[known]), 1)[0])


def _radial_power(plane: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Radii 2 … and the spectrum's power summed over each; CellProfiler's radius of index k is min(k, N - 1 - k)."""
    from scipy import fft

    height, width = plane.shape
    limit = int(np.floor(min(height, width) / 8))
    radii = np.arange(2, limit, dtype=np.int64)
    if radii.size == 0 or np.ptp(plane) == 0:
        return radii, np.zeros(radii.size)
    # Of the spectrum only the corners of low frequencies count: columns beyond them are never transformed.
    half = fft.fft(fft.rfft(plane - plane.mean(dtype=np.float64), axis=1)[:, : limit + 1], axis=0)
    rows = np.r_[0:limit, height - limit : height]
    # The columns beyond the half that rfft gives mirror those in it: (i, W - j) is the conjugate of (H - i, j).
    left, right = half[rows, :limit], half[-rows % height, limit:0:-1]
    power = np.abs(np.concatenate([left, right], axis=1)) ** 2
    near_row, near_column = np.r_[0:limit, limit - 1 : -1 : -1], np.r_[0:limit, limit - 1 : -1 : -1]
    radius = np.floor(np.hypot(near_row[:, None], near_column[None, :])).astype(np.int64) + 1
    summed = np.bincount(radius.ravel(), power.ravel()).astype(np.float64)
    return radii, summed[2:limit]


def _eight_levels(levels: GreyLevels) -> NDArray[np.uint8]:
    """(H, W): the image from its lowest to its highest value in GREY_LEVELS steps."""
    values, _ = levels.known
    low, span = values[0], values[-1] - values[0]
    unit = (levels.values - low) / (span if span > 0 else np.float32(1))
    return (unit // (1.0 / GREY_LEVELS)).clip(0, GREY_LEVELS - 1).astype(np.uint8)[levels.codes]


def _haralick_correlation(levels: NDArray[np.uint8], scale: int) -> float:
    """Haralick's correlation of grey levels `scale` columns apart; NaN where one side is constant."""
    from morpho_assets.imaging.quality_kernels import pair_sums

    pairs = levels.shape[0] * (levels.shape[1] - scale)
    if levels.shape[1] <= scale:
        return float("nan")
    left, right, left_square, right_square, product = pair_sums(levels, scale)
    spread = np.sqrt(float(pairs * left_square - left**2) * float(pairs * right_square - right**2))
    return float(pairs * product - left * right) / float(spread) if spread > 0 else float("nan")


def otsu_threshold(levels: GreyLevels, classes: int) -> float:
    """Otsu's threshold of log intensity; with three classes the lower of the two.

    NaN for an image with fewer occupied bins of intensity than classes, such as a constant one.
    CellProfiler bins by rank, this by intensity, so the two need not agree.
    """
    from skimage.filters import threshold_multiotsu, threshold_otsu

    values, counts = levels.known
    values, counts = values[values > 0], counts[values > 0]
    if values.size < 2:
        return float("nan")
    # In double precision: two neighbouring floats leave no room for 256 bins between them.
    binned, edges = np.histogram(np.log(values).astype(np.float64), bins=256, weights=counts)
    if np.count_nonzero(binned) < classes:
        return float("nan")
    histogram = (binned.astype(np.int64), (edges[:-1] + edges[1:]) / 2)
    cut = threshold_otsu(hist=histogram) if classes == 2 else threshold_multiotsu(hist=histogram, classes=classes)[0]
    return float(np.exp(cut))


def flag_quality(frame: pl.DataFrame, config: QualityConfig | None = None) -> pl.DataFrame:
    """Add Boolean columns `flag_out_of_focus`, `flag_saturated`, `flag_empty`, `flag_debris` to a plate's rows.

    `frame` has a row per site and channel: `channel` and what `measure_quality` gives. Focus and debris are judged
    against the same channel of the plate (robust z: distance from the median in MAD x 1.4826) where it has
    `least_sites` sites; saturation, emptiness and gross defocus need no plate. Saturated is an image with
    `saturated_percent` of its pixels at its maximum, where that is full scale, or from 0.03 on the ceiling of a camera
    of fewer bits: no image that is not clipped has so many brightest pixels, unless it is empty. An empty image is
    only empty: its focus says nothing, nor does it beside bright debris. Missing values flag nothing.
    """
    config = config or QualityConfig()
    slope, spread = pl.col("ImageQuality_PowerLogLogSlope"), pl.col("ImageQuality_StdIntensity")
    correlation = pl.col(f"ImageQuality_Correlation_{min(config.scales)}")
    brightest = pl.col("ImageQuality_MaxIntensity")
    empty = correlation.is_nan() | (correlation < config.empty_correlation)
    clipped = (brightest >= config.saturated_intensity) | ((brightest >= CLIPPED_FROM) & ~empty)
    saturated = clipped & (pl.col("ImageQuality_PercentMaximal") >= config.saturated_percent)
    blurred = (slope < config.focus_slope) | (_plate_z(slope, config.least_sites) < -config.focus_z)
    debris = _plate_z(spread.log(), config.least_sites) > config.debris_z
    flags = (
        blurred & ~empty & ~saturated & ~debris.fill_null(False),
        saturated,
        empty & ~saturated,
        debris & ~saturated,
    )
    return frame.with_columns(flag.fill_null(False).alias(name) for flag, name in zip(flags, FLAGS, strict=True))


FAULTS = {
    "flag_out_of_focus": "out of focus: check the autofocus",
    "flag_saturated": "saturated: lower the exposure",
    "flag_empty": "empty: was the stain left out, or the shutter closed?",
    "flag_debris": "with debris: wash the plate, or the optics",
    "flag_shifted": "shifted against the other channels: register them before measuring",
    "flag_other_field": "of another field than the other channels: are its files those of other sites?",
}
"""What a flag that is on many sites of a plate says about the plate, and what to do."""


def plate_faults(frame: pl.DataFrame, config: QualityConfig | None = None) -> list[str]:
    """One sentence for everything in a plate's `image_quality` that is more than a bad site here and there.

    A flag on `plate_share` of a channel's sites, and at least three, is the plate's fault; sites that show the same
    field, or channels that are one picture, are named, however few. An empty list is a good plate.
    """
    config = config or QualityConfig()
    if not frame.height:  # a plate without images, measured elsewhere
        return []
    found = []
    for (channel,), rows in frame.group_by("channel", maintain_order=True):
        for flag, what in FAULTS.items():
            flagged = rows.filter(pl.col(flag))
            if flagged.height >= max(3, config.plate_share * rows.height):
                by = ""
                if flag == "flag_shifted":
                    medians = flagged.select(pl.col("Field_Shift_X", "Field_Shift_Y").median()).row(0)
                    by = " (by {:+.0f} pixels in X, {:+.0f} in Y)".format(*medians)
                found.append(f"{channel}: {flagged.height} of {rows.height} images{by} {what}")
    copies = frame.filter("flag_same_picture").group_by("Metadata_Well", "Metadata_Site", maintain_order=True)
    of = frame.select("Metadata_Well", "Metadata_Site").n_unique()
    for channels, number in Counter(" and ".join(rows["channel"]) for _, rows in copies).items():
        todo = "correct load_data, or export the channel again"
        found.append(f"{channels} are one picture at {number} of {of} sites: {todo}")
    sites = frame.filter("flag_repeated").unique(["Metadata_Well", "Metadata_Site"], maintain_order=True)
    for _, group in sites.group_by("same_field_as", maintain_order=True):
        names = [f"{well}-{site}" for well, site in group.select("Metadata_Well", "Metadata_Site").iter_rows()]
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        found.append(f"{shown} show the same field: did the stage move, or were files copied?")
    return found


def _plate_z(value: pl.Expr, least: int) -> pl.Expr:
    value = pl.when(value.is_finite()).then(value)
    centre = value.median().over("channel")
    mad = (value - centre).abs().median().over("channel") * MAD_TO_SD
    return pl.when((value.count().over("channel") >= least) & (mad > 0)).then((value - centre) / mad)


STAIN_VALUE = "ImageQuality_StdIntensity"
"""What of an image is compared between plates: its contrast."""


def stain_drift(
    frame: pl.DataFrame,
    *,
    value: str = STAIN_VALUE,
    group: Sequence[str] = (),
    z: float = 3.5,
    least_change: float = 0.2,
) -> pl.DataFrame:
    """Which stain of which plate is brighter or dimmer than on the other plates?

    The default `value` is contrast: camera offset and background do not enter it, and where cells are sparse the
    median of an image is all background.
    `frame` has rows of several plates: `Metadata_Plate`, `channel`, `value` and the `group` columns within which
    plates are compared (for example `Metadata_Batch`). Returns one row per plate and channel: `sites`, `median`
    (of the plate's sites), `reference` (median of the other plates), `log2_ratio` of the two, `robust_z` of that
    ratio in MADs (x 1.4826) of the other plates, and `flag_stain_drift`: `z` or more away, and by `least_change` of
    the reference or more, so that plates which agree to a percent do not flag each other. With fewer than three
    other plates there is no z and no flag.
    """
    keys = [*group, "channel"]
    plates = (
        frame.group_by(*keys, "Metadata_Plate")
        .agg(pl.len().alias("sites"), pl.col(value).median().alias("median"))
        .sort(*keys, "Metadata_Plate")
    )
    parts = [_drift_of_channel(part, z, least_change) for part in plates.partition_by(keys, maintain_order=True)]
    return pl.concat(parts) if parts else _drift_of_channel(plates, z, least_change)


def _drift_of_channel(plates: pl.DataFrame, z: float, least_change: float) -> pl.DataFrame:
    logs = np.log2(plates["median"].to_numpy())
    references, scores = np.full(logs.size, np.nan), np.full(logs.size, np.nan)
    for plate in range(logs.size):
        others = np.delete(logs, plate)
        others = others[np.isfinite(others)]
        if others.size == 0:
            continue
        references[plate] = np.median(others)
        if others.size >= 3:
            # Plates measured alike to the last digit still deserve a finite z: 1 % is as alike as plates get.
            spread = max(MAD_TO_SD * float(np.median(np.abs(others - references[plate]))), np.log2(1.01))
            scores[plate] = (logs[plate] - references[plate]) / spread
    ratio = logs - references
    drifted = (np.abs(scores) >= z) & (np.abs(ratio) >= np.log2(1 + least_change))
    return plates.with_columns(
        pl.Series("reference", 2**references, nan_to_null=True),
        pl.Series("log2_ratio", ratio, nan_to_null=True),
        pl.Series("robust_z", scores, nan_to_null=True),
        pl.Series("flag_stain_drift", drifted, dtype=pl.Boolean),
    )
