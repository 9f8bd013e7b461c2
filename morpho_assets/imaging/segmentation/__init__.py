"""Nuclei and cells of a site, linked one to one, by a method of choice.

objects.py             Segmentation: the labels and what was dropped; cytoplasm
config.py              the settings of each method, and presets
watershed.py           the classical method (nuclei.py, cells.py, thresholds.py, propagation.py)
network.py             the shipped network (unet.py, network_input.py, network_objects.py)
cellpose_network.py    the cellpose package
external.py            labels that exist already (outlines.py), corrections.py of single sites
files.py               what weights and label files hold, so that other ones make other masks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.config import (
    CELLPROFILER_JUMP,
    PRESETS,
    CellposeConfig,
    ExternalConfig,
    NetworkConfig,
    SegmentationConfig,
    WatershedConfig,
)
from morpho_assets.imaging.segmentation.objects import Segmentation, cytoplasm_of

__all__ = [
    "CELLPROFILER_JUMP",
    "PRESETS",
    "CellposeConfig",
    "ExternalConfig",
    "NetworkConfig",
    "Segmentation",
    "SegmentationConfig",
    "Segmenter",
    "WatershedConfig",
    "by_site",
    "corrected_sites",
    "cytoplasm_of",
    "fetch_weights",
    "file_stamps",
    "made_with",
    "make_segmenter",
    "network_is_quick",
]


class Segmenter(Protocol):
    """What finds nuclei and cells: cheap to make, picklable, the same result for the same image."""

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """`image` is (C, H, W) float32 in [0, 1], illumination-corrected; `channels` names its planes."""
        ...


def make_segmenter(config: SegmentationConfig, site: Mapping[str, object] | None = None) -> Segmenter:
    """The segmenter of a configuration; `site` (plate, well, site …) is what method external finds its files by.

    Weights are checked here and loaded at the first image, once per process.
    """
    if not isinstance(config, ExternalConfig) and config.corrected is not None:
        from morpho_assets.imaging.segmentation.corrections import Corrected

        plain = make_segmenter(config.model_copy(update={"corrected": None}), site)
        return Corrected(plain, config.corrected, dict(site or {}))
    if not isinstance(config, ExternalConfig) and config.augment:
        from morpho_assets.imaging.augmentation import Augmented

        return Augmented(make_segmenter(config.model_copy(update={"augment": False})))
    if isinstance(config, ExternalConfig):
        from morpho_assets.imaging.segmentation.external import ExternalSegmenter

        return ExternalSegmenter(config, dict(site or {}))
    if isinstance(config, CellposeConfig):
        from morpho_assets.imaging.segmentation.cellpose_network import CellposeSegmenter

        return CellposeSegmenter(config)
    if isinstance(config, NetworkConfig):
        from morpho_assets.imaging.segmentation.network import NetworkSegmenter

        return NetworkSegmenter(config)
    from morpho_assets.imaging.segmentation.watershed import WatershedSegmenter

    return WatershedSegmenter(config)


def network_is_quick() -> bool:
    """Whether this processor multiplies whole numbers: a site by the network then costs about what it does by the
    watershed; elsewhere the same masks take two to three times as long."""
    from morpho_assets.imaging.segmentation.unet_integers import fast

    return fast()


def fetch_weights(config: SegmentationConfig) -> None:
    """Have the weights of the networks of a configuration on this machine; InputError where they cannot be had."""
    if isinstance(config, CellposeConfig):
        from morpho_assets.imaging.segmentation.cellpose_network import CellposeSegmenter

        CellposeSegmenter(config).fetch()


def by_site(config: SegmentationConfig) -> bool:
    """Whether the masks of a site depend on files of that site besides its images."""
    return isinstance(config, ExternalConfig) or config.corrected is not None


def corrected_sites(config: SegmentationConfig, sites: Sequence[Mapping[str, object]]) -> list[int]:
    """The positions of the sites that a person corrected."""
    if isinstance(config, ExternalConfig) or config.corrected is None:
        return []
    from morpho_assets.imaging.segmentation.corrections import corrected_files

    return [number for number, site in enumerate(sites) if corrected_files(config.corrected, site)]


def file_stamps(config: SegmentationConfig, sites: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """What `made_with` depends on as it looks now, without reading label images: they are known by size and time."""
    from morpho_assets.imaging.segmentation.external import label_images_stamp

    return _files(config, sites, label_images_stamp)


def made_with(config: SegmentationConfig, sites: Sequence[Mapping[str, object]] = ()) -> dict[str, str]:
    """What the masks of these sites depend on besides the images and the settings, by name.

    cellpose's version and the sha256 of each weights file that is on this machine; one digest of the contents of the
    sites' label images, and one of what a person corrected. Empty for the watershed alone. `sites` are those of
    `make_segmenter`; InputError where two of them would have the same label image.
    """
    from morpho_assets.imaging.segmentation.external import label_images_digest

    return _files(config, sites, label_images_digest)


def _files(
    config: SegmentationConfig, sites: Sequence[Mapping[str, object]], name: Callable[..., str]
) -> dict[str, str]:
    if isinstance(config, ExternalConfig):
        return {"label images": name(config, sites)}
    corrected = {}
    if config.corrected is not None and corrected_sites(config, sites):
        corrected = {"corrected": name(config.corrected, sites)}
    if isinstance(config, CellposeConfig):
        from morpho_assets.imaging.segmentation.cellpose_network import CellposeSegmenter

        return CellposeSegmenter(config).provenance() | corrected
    if isinstance(config, NetworkConfig):
        from morpho_assets.imaging.segmentation.network import NetworkSegmenter

        return NetworkSegmenter(config).provenance() | corrected
    return corrected
