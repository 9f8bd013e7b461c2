"""Label images, or outlines, that a user already has: what another program found, or what was corrected by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import ImageError, InputError
from morpho_assets.imaging.images import read_labels
from morpho_assets.imaging.segmentation.config import CorrectedConfig, ExternalConfig
from morpho_assets.imaging.segmentation.files import file_sha256
from morpho_assets.imaging.segmentation.objects import Labels, Segmentation, linked
from morpho_assets.imaging.segmentation.outlines import SUFFIXES, read_outlines
from morpho_assets.lake.digests import digest

MOST_PIECES = 8  # of one object: masks drawn by hand have stray pixels
_DUMMIES: tuple[dict[str, object], ...] = tuple({"plate": "P1", "well": well, "site": 1} for well in ("A01", "B02"))


@dataclass(frozen=True)
class ExternalSegmenter:
    """Reads the labels of one site; `site` gives the values for the braces in the configured paths.

    Raises InputError for a path whose braces name nothing of a site, or that is the same for every well.
    """

    config: ExternalConfig
    site: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_patterns(self.config)

    def segment(self, image: NDArray[np.float32], channels: Sequence[str]) -> Segmentation:
        """Labels of this site, linked one to one by overlap; (C, H, W) `image` only says which size they must have.

        Raises ImageError for a file that is no label image of that size: objects that are not numbered are none.
        """
        shape = (image.shape[1], image.shape[2])
        patterns = {"nuclei": self.config.nuclei, "cells": self.config.cells}
        nuclei, cells = (
            read_objects(site_path(pattern, self.config.folder, self.site), shape, compartment)
            for compartment, pattern in patterns.items()
        )
        return linked(nuclei, cells)


def read_objects(path: Path, shape: tuple[int, int], compartment: str) -> Labels:
    """Nuclei or cells of a label image or a file of outlines as labels (H, W). Raises ImageError for any other file."""
    if path.suffix.lower() in SUFFIXES:
        return read_outlines(path, shape, compartment)
    labels = read_labels(path, shape=shape)
    label, pieces = _most_pieces(labels)
    if pieces > MOST_PIECES or (pieces > 2 and (labels[labels > 0] == label).all()):
        todo = "number each object (in Python skimage.measure.label, in Fiji Connected Components Labeling)"
        raise ImageError(path, f"has {pieces} separate pieces under the one label {label}: a mask? {todo}")
    return labels


def check_patterns(config: ExternalConfig | CorrectedConfig) -> None:
    """Raise InputError for a path whose braces name nothing of a site, or that is the same for every well."""
    for pattern in _patterns(config):
        one, other = (site_path(pattern, config.folder, site) for site in _DUMMIES)
        if one == other:
            expected = "the brace {well} in it"
            raise InputError("label images", pattern, "one path for all wells", expected, "Name each site's file.")


def _patterns(config: ExternalConfig | CorrectedConfig) -> list[str]:
    return [pattern for pattern in (config.nuclei, config.cells) if pattern is not None]


def _most_pieces(labels: Labels) -> tuple[int, int]:
    """The label with most 8-connected pieces, and how many those are; (0, 0) without objects."""
    from skimage.measure import label

    pieces = label(labels, connectivity=2)
    number, first = np.unique(pieces, return_index=True)
    of_label, counts = np.unique(labels.flat[first[number > 0]], return_counts=True)
    return (int(of_label[counts.argmax()]), int(counts.max())) if counts.size else (0, 0)


def label_images_digest(config: ExternalConfig | CorrectedConfig, sites: Sequence[Mapping[str, object]]) -> str:
    """Names the contents of all label images of these sites; a file that is not there counts as such.

    Raises InputError where two sites would have the same file.
    """
    return _label_images(config, sites, file_sha256)


def label_images_stamp(config: ExternalConfig | CorrectedConfig, sites: Sequence[Mapping[str, object]]) -> str:
    """The same by the size and time of change of the files, none of which is read."""

    def stamp(path: Path) -> str:
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    return _label_images(config, sites, stamp)


def _label_images(
    config: ExternalConfig | CorrectedConfig, sites: Sequence[Mapping[str, object]], name: Callable[[Path], str]
) -> str:
    content = []
    for pattern in _patterns(config):
        paths = [site_path(pattern, config.folder, site) for site in sites]
        if len(set(paths)) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise InputError("label images", pattern, f"{twice} for several sites", "one file each", "Add {site}.")
        content.append([name(path) if path.is_file() else None for path in paths])
    return digest(content)


def site_path(pattern: str, folder: Path | None, site: Mapping[str, object]) -> Path:
    """The path that `pattern` names for a site, under `folder`; InputError for a brace that names nothing of a site."""
    try:
        path = Path(pattern.format_map(site))
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        known = ", ".join(f"{{{name}}}" for name in site) or "none"
        found = f"a brace that cannot be filled ({error})"
        raise InputError("label images", pattern, found, f"of {known}", "Name what identifies a site.") from error
    return folder / path if folder else path
