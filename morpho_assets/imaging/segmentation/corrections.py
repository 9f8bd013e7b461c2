"""Masks of single sites that a person corrected, in place of what the method finds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morpho_assets.imaging.segmentation.config import CorrectedConfig
from morpho_assets.imaging.segmentation.external import check_patterns, read_objects, site_path
from morpho_assets.imaging.segmentation.objects import Segmentation, linked

if TYPE_CHECKING:
    from morpho_assets.imaging.segmentation import Segmenter


@dataclass(frozen=True)
class Corrected:
    """`segmenter`, but for the sites that there are corrected files of; `site` gives the values for the braces.

    Raises InputError for a path whose braces name nothing of a site, or that is the same for every well.
    """

    segmenter: Segmenter
    config: CorrectedConfig
    site: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_patterns(self.config)

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """What is in the corrected files, linked one to one; a compartment without a file is the method's.

        Raises ImageError for a file that is no label image, and holds no outlines, of the image's size.
        """
        files = corrected_files(self.config, self.site) if self.site else {}
        if not files:
            return self.segmenter.segment(image, channels)
        shape = (image.shape[1], image.shape[2])
        given = {compartment: read_objects(path, shape, compartment) for compartment, path in files.items()}
        if len(given) == 1:
            found = self.segmenter.segment(image, channels)
            given = {"nuclei": found.nuclei, "cells": found.cells} | given
        return linked(given["nuclei"], given["cells"])


def corrected_files(config: CorrectedConfig, site: Mapping[str, object]) -> dict[str, Path]:
    """The corrected files that a site has, by compartment."""
    named = {"nuclei": config.nuclei, "cells": config.cells}
    paths = {kind: site_path(pattern, config.folder, site) for kind, pattern in named.items() if pattern is not None}
    return {kind: path for kind, path in paths.items() if path.is_file()}
