"""Profiles that somebody else published, as frames that every step here takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from morpho_assets.gallery.cellprofiler import read_wells
from morpho_assets.profiles.annotate import AnnotateConfig, recognise


def read_profiles(files: Sequence[Path], annotation: AnnotateConfig | None = None) -> pl.DataFrame:
    """Published well profiles, one file below the other, controls recognised as in `annotate.recognise` (without a
    treatment column they stay as they are). Columns that some file lacks are null there. Errors as of `read_wells`.
    """
    annotation = annotation or AnnotateConfig()
    profiles = pl.concat([read_wells(file) for file in files], how="diagonal_relaxed")
    return recognise(profiles, annotation) if annotation.treatment in profiles.columns else profiles
