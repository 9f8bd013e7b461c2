"""What is measured, with which settings: one model per CellProfiler module and the named profiles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError

Ties = Literal["centroid", "first", "cellprofiler"]
TIES = (
    "which of equal maxima counts: the one nearest the object's centroid, then first in raster order; the first in "
    "raster order; or the one that CellProfiler's sort of the whole image leaves last, as production data before numpy "
    "1.25 have it"
)
Distance = Literal["Adjacent"] | Annotated[int, Field(ge=1, le=100)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AreaShapeConfig(_Settings):
    """MeasureObjectSizeShape."""

    zernike_degree: int = Field(9, ge=0, le=15, description="highest radial degree n of the Zernike shape features")


class IntensityConfig(_Settings):
    """MeasureObjectIntensity."""

    ties: Ties = Field("centroid", description=TIES)


class TextureConfig(_Settings):
    """MeasureTexture."""

    scales: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        (3, 5, 10), min_length=1, description="distances between the two pixels of a pair, pixels"
    )
    gray_levels: int = Field(256, ge=2, le=256, description="number of grey levels of the whole range 0 to 1")


class GranularityConfig(_Settings):
    """MeasureGranularity."""

    subsampling: float = Field(0.5, gt=0, le=1, description="side of the measured image over that of the given one")
    background_subsampling: float = Field(
        0.5, gt=0, le=1, description="side of the background image over that of the measured one"
    )
    background_radius: int = Field(10, ge=1, le=100, description="radius of the background opening, background pixels")
    spectrum_length: int = Field(16, ge=1, le=64, description="number of opening sizes: 1, 2, … pixels of radius")


class RadialDistributionConfig(_Settings):
    """MeasureObjectIntensityDistribution with scaled bins, centred on the object itself."""

    bins: int = Field(4, ge=1, le=20, description="number of rings between centre and edge")
    zernike_degree: int | None = Field(
        None, ge=0, le=15, description="highest degree of the intensity Zernike moments; null: none"
    )
    ties: Ties = Field("centroid", description=TIES)


class CostesConfig(_Settings):
    """Costes' automatic thresholds in MeasureColocalization."""

    search: Literal["faster", "fast", "accurate"] = Field(
        "faster",
        description="bisection; from the brightest level down, skipping while far from the goal; or trying every level",
    )
    within: Literal["image", "object"] = Field(
        "image", description="where thresholds are found: once over all pixels, as CellProfiler, or in every object"
    )
    levels: int = Field(
        65535, ge=2, le=2**32 - 1, description="intensity levels of the range 0 to 1: 65535 for 16 bits"
    )


class CorrelationConfig(_Settings):
    """MeasureColocalization within objects."""

    threshold_percent: float = Field(
        15.0, ge=0, le=99, description="foreground threshold, percent of an object's maximum in a channel"
    )
    costes: CostesConfig | None = Field(None, description="Costes coefficients; null: none")


class NeighborsConfig(_Settings):
    """MeasureObjectNeighbors, each compartment against itself."""

    distances: dict[str, tuple[Distance, ...]] = Field(
        {"Nuclei": (1,), "Cells": (5, "Adjacent")},
        description="compartment to its neighbourhoods: a distance in pixels, or Adjacent",
    )


class MeasurementConfig(_Settings):
    """Which modules run and how; a module set to null is left out. The defaults are the profile `jump`."""

    area_shape: AreaShapeConfig | None = Field(AreaShapeConfig(), description="size, shape, shape Zernikes, Feret")
    correlation: CorrelationConfig | None = Field(CorrelationConfig(), description="colocalisation of channel pairs")
    granularity: GranularityConfig | None = Field(GranularityConfig(), description="granular spectrum")
    intensity: IntensityConfig | None = Field(IntensityConfig(), description="intensity statistics and locations")
    neighbors: NeighborsConfig | None = Field(NeighborsConfig(), description="neighbours in the same compartment")
    radial_distribution: RadialDistributionConfig | None = Field(
        RadialDistributionConfig(), description="intensity in rings from centre to edge"
    )
    texture: TextureConfig | None = Field(TextureConfig(), description="Haralick texture")


PROFILES: dict[str, MeasurementConfig] = {
    "jump": MeasurementConfig(),
    "jump_production": MeasurementConfig(
        intensity=IntensityConfig(ties="cellprofiler"),
        radial_distribution=RadialDistributionConfig(ties="cellprofiler"),
    ),
    "core": MeasurementConfig(correlation=None, granularity=None, neighbors=None, texture=None),
}
"""`jump`: the CPJUMP1 analysis pipeline; `jump_production`: the same with CellProfiler's ties, for comparison with
published measurements; `core`: shape, intensity and radial distribution, for a quick look."""


def resolve(profile: MeasurementConfig | str) -> MeasurementConfig:
    """The settings themselves, or those of a named profile; InputError lists the known names."""
    if isinstance(profile, MeasurementConfig):
        return profile
    if profile not in PROFILES:
        raise InputError("profile", "", repr(profile), f"one of {sorted(PROFILES)}", "Name a profile or give settings.")
    return PROFILES[profile]
