"""Label images that a user already has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.segmentation.config import ExternalConfig
from morpho_assets.imaging.segmentation.objects import Labels, Segmentation, linked


@dataclass(frozen=True)
class ExternalSegmenter:
    """Reads the labels of one site; `site` gives the values for the braces in the configured paths."""

    config: ExternalConfig
    site: Mapping[str, object] = field(default_factory=dict)

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """Labels of this site, linked one to one by overlap; (C, H, W) `image` only says which size they must have.

        Raises ImageError for a file that is no label image of that size, InputError for a brace that names nothing.
        """
        nuclei, cells = (self._labels(pattern, image.shape[1:]) for pattern in (self.config.nuclei, self.config.cells))
        return linked(nuclei, cells)

    def _labels(self, pattern: str, shape: tuple[int, ...]) -> Labels:
        return read_labels(site_path(pattern, self.config.folder, self.site), shape=(shape[0], shape[1]))


def site_path(pattern: str, folder: Path | None, site: Mapping[str, object]) -> Path:
    """The path that `pattern` names for a site, under `folder`; InputError for a brace that names nothing of a site."""
    try:
        path = Path(pattern.format_map(site))
    except (KeyError, IndexError, ValueError) as error:
        known = ", ".join(f"{{{name}}}" for name in site) or "none"
        raise InputError(
            "label images", pattern, f"the brace {error.args[0]!r}", f"one of {known}", "Name what identifies a site."
        ) from error
    return folder / path if folder else path
