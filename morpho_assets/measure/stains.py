"""Is the stain that is called nuclear the one that lies in the nuclei?

Nuclei are found on one channel. Were it another stain's images, its light would be no more concentrated in what was
found there than that of the real nuclear stain, whatever the segmentation made of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.imaging.segmentation import SegmentationConfig

LEAST_FACTOR = 1.5
"""How many times brighter in nuclei than any other stain the nuclear one has to be: real fields have 5 and more."""
LEAST_CELLS = 20


def nuclear_channel(config: SegmentationConfig, channels: Sequence[str]) -> str | None:
    """The channel on which nuclei are found; for label images from elsewhere DNA; None where a plate lacks it."""
    if config.method == "watershed":
        wanted: tuple[str, ...] = (config.nuclei.channel,)
    else:
        wanted = config.nuclei.channels if config.method == "cellpose" else ("DNA",)
    return next((name for name in wanted if name in channels), None)


def nuclear_contrast(cells: pl.LazyFrame, quality: pl.DataFrame) -> dict[str, float]:
    """For each channel how many times brighter cells are in the nucleus than in the cytoplasm, median over cells.

    `cells` is a plate's `single_cells`, `quality` its `image_quality`: the darkest pixel of an image stands for its
    background. Cells without cytoplasm do not count. Empty where intensities were not measured, or under 20 cells.
    """
    names = cells.collect_schema().names()
    measured = [name.removeprefix(_NUCLEI) for name in names if name.startswith(_NUCLEI)]
    channels = [channel for channel in measured if _CYTOPLASM + channel in names]
    if not channels or not quality.height:
        return {}
    background = quality.pivot(
        "channel",
        index=["Metadata_Well", "Metadata_Site"],
        values="ImageQuality_MinIntensity",
        aggregate_function="min",
    )
    channels = [channel for channel in channels if channel in background.columns]
    if not channels:
        return {}
    values = [prefix + channel for channel in channels for prefix in (_NUCLEI, _CYTOPLASM)]
    rows = cells.select("Metadata_Well", "Metadata_Site", *values).collect()
    rows = rows.join(background, on=["Metadata_Well", "Metadata_Site"])
    ratios = rows.select(
        ((pl.col(_NUCLEI + c) - pl.col(c)) / (pl.col(_CYTOPLASM + c) - pl.col(c))).alias(c) for c in channels
    )
    ratios = ratios.filter(pl.all_horizontal(pl.all().is_finite()))
    return {} if ratios.height < LEAST_CELLS else dict(zip(channels, ratios.median().row(0), strict=True))


def stain_fault(contrast: dict[str, float], nuclear: str | None) -> str | None:
    """What is wrong with the nuclear stain of a plate, in a sentence; None where nothing is, or nothing is known."""
    others = {name: value for name, value in contrast.items() if name != nuclear}
    if nuclear not in contrast or not others:
        return None
    rival = max(others, key=lambda name: others[name])
    own, best = contrast[nuclear], others[rival]
    if own >= LEAST_FACTOR * best:
        return None
    return (
        f"in the nuclei {nuclear} is {own:.1f} times as bright as in the cytoplasm, {rival} {best:.1f} times: "
        f"{nuclear} does not look like a nuclear stain and may be exchanged with {rival}; compare their images, "
        "correct load_data and run the plate again"
    )


_NUCLEI = "Nuclei_Intensity_MeanIntensity_"
_CYTOPLASM = "Cytoplasm_Intensity_MeanIntensity_"
