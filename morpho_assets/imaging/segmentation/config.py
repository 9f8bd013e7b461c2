"""How nuclei and cells are found: one model per method, told apart by `method`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

AUGMENT = "segment eight flips and quarter turns and let them vote: eight times the work (docs/segmentation.md)"
CORRECTED = "files of sites whose masks a person corrected, which are taken as they are; none: no site's"
Border = Literal["discard", "keep"]
ThresholdMethod = Literal["minimum_cross_entropy", "otsu", "otsu_three_classes", "local"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ThresholdConfig(_Model):
    """One threshold for the whole image (or a local one), CellProfiler's Threshold settings."""

    method: ThresholdMethod = Field(
        default="minimum_cross_entropy", description="local: Otsu within windows of the image"
    )
    log: bool = Field(
        default=False, description="find the threshold in log intensity, for dim edges beside bright cells"
    )
    smoothing_scale: float = Field(default=0.0, ge=0, description="width of the smoothing before thresholding, pixels")
    correction: float = Field(default=1.0, gt=0, description="factor on the threshold found")
    lower: float = Field(default=0.0, ge=0, le=1, description="least threshold, intensity in [0, 1]")
    upper: float = Field(default=1.0, gt=0, le=1, description="largest threshold, intensity in [0, 1]")
    window: int = Field(default=101, ge=3, description="local: side of the window, pixels")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> ThresholdConfig:
        if self.lower > self.upper:
            raise ValueError(f"lower ({self.lower}) is above upper ({self.upper})")
        return self


class NucleiConfig(_Model):
    """Nuclei on one channel."""

    channel: str = Field(default="DNA", description="channel that shows nuclei")
    threshold: ThresholdConfig | None = Field(
        default=None,
        description="one threshold and declumping as CellProfiler does; none: each nucleus gets its own threshold",
    )
    background_size: float = Field(
        default=0.0, ge=0, description="smoothing of the background estimate that is subtracted first, pixels; 0: none"
    )
    background_block: float = Field(
        default=30.0, gt=0, description="side of the blocks whose least values are that background, pixels"
    )
    declump: Literal["shape", "intensity", "none"] = Field(
        default="shape", description="with a threshold: how clumps are split"
    )
    declump_smoothing: float = Field(
        default=7.0, ge=0, description="with a threshold and declump: intensity: smoothing before splitting, pixels"
    )
    declump_distance: float = Field(
        default=8.0, gt=0, description="with a threshold: least distance of two centres, pixels"
    )
    boundary: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="own thresholds: outline between background (0) and nucleus (1); none: by the size of the nuclei",
    )
    min_diameter: float | None = Field(default=None, gt=0, description="smallest nucleus, pixels; none: from the image")
    max_diameter: float | None = Field(default=None, gt=0, description="largest nucleus, pixels; none: no limit")
    fill_holes: bool = Field(default=True, description="fill holes within a nucleus")
    border: Border = Field(default="discard", description="nuclei that touch the image's edge")

    @model_validator(mode="after")
    def _diameters_in_order(self) -> NucleiConfig:
        if self.min_diameter and self.max_diameter and self.min_diameter > self.max_diameter:
            raise ValueError(f"min_diameter ({self.min_diameter}) is above max_diameter ({self.max_diameter})")
        return self


class CellsConfig(_Model):
    """Cells grown from the nuclei."""

    channels: tuple[str, ...] = Field(
        default=("RNA", "AGP", "ER"),
        min_length=1,
        description="channels that show whole cells; the first one present is used",
    )
    threshold: ThresholdConfig = Field(
        default=ThresholdConfig(log=True), description="what is cell and what is background"
    )
    grow: Literal["watershed", "propagation"] = Field(
        default="watershed",
        description="watershed: brightest pixels first; propagation: by distances that count changes of brightness",
    )
    regularisation: float = Field(
        default=0.05,
        ge=0,
        description="propagation: small, borders lie where brightness changes; large, half-way between nuclei",
    )
    fill_holes: bool = Field(default=True, description="fill holes within a cell")
    border: Border = Field(
        default="keep", description="cells that touch the image's edge (their nucleus goes with them)"
    )


class CorrectedConfig(_Model):
    """Files of single sites that a person corrected, as label images or outlines; other sites have none."""

    nuclei: str | None = Field(
        default=None, description="path of a site's nuclei, with {plate}, {well}, {site} …; none: none are corrected"
    )
    cells: str | None = Field(default=None, description="path of a site's cells, likewise")
    folder: Path | None = Field(
        default=None,
        description="folder that relative paths start from, itself relative to the settings file; none: that file's",
    )

    @model_validator(mode="after")
    def _names_something(self) -> CorrectedConfig:
        if self.nuclei is None and self.cells is None:
            raise ValueError("names neither nuclei nor cells")
        return self


class WatershedConfig(_Model):
    """Classical segmentation: no download, the same result everywhere."""

    method: Literal["watershed"] = "watershed"
    augment: bool = Field(default=False, description=AUGMENT)
    # What is in the files is among the sources, so that a site without one is made of the same with and without this.
    corrected: CorrectedConfig | None = Field(default=None, exclude=True, description=CORRECTED)
    nuclei: NucleiConfig = Field(default=NucleiConfig(), description="how nuclei are found")
    cells: CellsConfig = Field(default=CellsConfig(), description="how cells are grown from them")


class CellposeNetworkConfig(_Model):
    """One cellpose network and what it looks at."""

    model: str = Field(
        description="a cellpose model's name, `small-nuclei` (shipped here, version 3), or the path of a weights file"
    )
    channels: tuple[str, ...] = Field(min_length=1, description="channels it looks at; the first one present is used")
    nuclear_channel: str | None = Field(default=None, description="second channel given to the network; none: none")
    diameter: Annotated[float, Field(gt=0)] | Literal["estimate"] | None = Field(
        default=None,
        description="objects' diameter, pixels; estimate: from each image, for nuclei; none: the model's own",
    )
    flow_threshold: float = Field(default=0.4, ge=0, description="largest flow error of an object; 0: not checked")
    cellprob_threshold: float = Field(default=0.0, description="least logit of a pixel to belong to an object")
    min_size: int = Field(default=15, ge=0, description="smallest object, pixels")
    border: Border = Field(default="keep", description="objects that touch the image's edge")


class CellposeConfig(_Model):
    """The real cellpose package (3, or 4 where installed) for nuclei and, where a network is named, for cells."""

    method: Literal["cellpose"] = "cellpose"
    augment: bool = Field(default=False, description=AUGMENT)
    # What is in the files is among the sources, so that a site without one is made of the same with and without this.
    corrected: CorrectedConfig | None = Field(default=None, exclude=True, description=CORRECTED)
    nuclei: CellposeNetworkConfig = Field(
        default=CellposeNetworkConfig(model="nuclei", channels=("DNA",), diameter="estimate", border="discard"),
        description="network for nuclei",
    )
    cells: CellposeNetworkConfig | CellsConfig = Field(
        default=CellposeNetworkConfig(model="cyto3", channels=("RNA", "AGP", "ER"), nuclear_channel="DNA"),
        description="network for cells, or settings of the watershed that grows them from the nuclei",
    )
    batch_size: int = Field(default=8, ge=1, description="image tiles given to the network at once")
    device: Literal["cpu", "gpu"] = Field(default="cpu", description="gpu is an error where torch finds none")


class NetworkNucleiConfig(_Model):
    """The network for nuclei."""

    weights: Path | None = Field(
        default=None,
        exclude=True,  # where the file lies changes no mask: what is in it is among the sources
        description="weights of your own, a file of `python -m benchmarks.ship_network`; none: the shipped ones",
    )
    channel: str = Field(default="DNA", description="channel that shows nuclei")
    diameter: float | None = Field(default=None, gt=0, description="nuclei's diameter, pixels; none: from each image")
    threshold: float = Field(default=0.0, description="least logit of a pixel to belong to a nucleus")
    min_diameter: float | None = Field(default=None, gt=0, description="smallest nucleus, pixels; none: from the image")
    max_diameter: float | None = Field(default=None, gt=0, description="largest nucleus, pixels; none: no limit")
    fill_holes: bool = Field(default=True, description="fill holes within a nucleus")
    border: Border = Field(default="discard", description="nuclei that touch the image's edge")


class NetworkCellsConfig(_Model):
    """The network for cells, which sees the nuclei and the mean of the stains."""

    weights: Path | None = Field(
        default=None,
        exclude=True,
        description="weights of your own, likewise; none: the shipped ones",
    )
    channels: tuple[str, ...] = Field(
        default=("RNA", "AGP", "ER"),
        min_length=1,
        description="channels that show whole cells; the mean of those that are there is used",
    )
    threshold: float = Field(default=0.0, description="least logit of a pixel to belong to a cell")
    fill_holes: bool = Field(default=True, description="fill holes within a cell")
    border: Border = Field(
        default="keep", description="cells that touch the image's edge (their nucleus goes with them)"
    )


class NetworkConfig(_Model):
    """Small networks that ship with this package: no download, the same result everywhere."""

    method: Literal["network"] = "network"
    augment: bool = Field(default=False, description=AUGMENT)
    # What is in the files is among the sources, so that a site without one is made of the same with and without this.
    corrected: CorrectedConfig | None = Field(default=None, exclude=True, description=CORRECTED)
    nuclei: NetworkNucleiConfig = Field(default=NetworkNucleiConfig(), description="network for nuclei")
    cells: NetworkCellsConfig | CellsConfig = Field(
        default=NetworkCellsConfig(),
        description="network for cells, or settings of the watershed that grows them from the nuclei",
    )
    device: Literal["cpu", "gpu"] = Field(default="cpu", description="gpu is an error where torch finds none")


class ExternalConfig(_Model):
    """Label images that exist already, one integer TIFF or PNG per compartment and site."""

    method: Literal["external"] = "external"
    nuclei: str = Field(description="path of a site's nuclei, with {plate}, {well}, {site} … for what names the site")
    cells: str = Field(description="path of a site's cells, likewise")
    folder: Path | None = Field(
        default=None,
        exclude=True,  # where files lie changes no mask: what is in them is among the sources
        description="folder that relative paths start from, itself relative to the settings file; none: that file's",
    )


SegmentationConfig = Annotated[
    WatershedConfig | CellposeConfig | NetworkConfig | ExternalConfig, Field(discriminator="method")
]

CELLPROFILER_JUMP = WatershedConfig(
    nuclei=NucleiConfig(
        threshold=ThresholdConfig(smoothing_scale=3, correction=1.25, lower=0.014),
        background_size=50,
        min_diameter=10,
        max_diameter=75,
        fill_holes=False,
    ),
    cells=CellsConfig(channels=("RNA",), threshold=ThresholdConfig(lower=0.005, upper=0.014)),
)
"""The settings of the CPJUMP1 analysis pipeline (CellProfiler 4.0.6)."""

PRESETS: dict[str, WatershedConfig] = {"default": WatershedConfig(), "cellprofiler-jump": CELLPROFILER_JUMP}
