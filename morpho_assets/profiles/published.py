"""Profiles that somebody else published, as frames that every step here takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.published import read_wells
from morpho_assets.profiles.annotate import KEYS, AnnotateConfig, recognise


def read_profiles(
    files: Sequence[Path], annotation: AnnotateConfig | None = None, features: Sequence[str] = ()
) -> pl.DataFrame:
    """Published well profiles, one file below the other, controls recognised as in `annotate.recognise` (without a
    treatment column they stay as they are). Columns that some file lacks are null there. `features` are starts of their
    names, as of `read_wells`. Errors as of `read_wells`, and InputError for no file at all and for a well that is in
    two: the stages of a plate are no replicates.
    """
    if not files:
        raise InputError("profiles", "files", "none", "at least one file", "Check the folder and the pattern.")
    annotation = annotation or AnnotateConfig()
    frames = [read_wells(file, features=features) for file in files]
    _refuse_twice(files, frames)
    profiles = pl.concat(frames, how="diagonal_relaxed")
    return recognise(profiles, annotation) if annotation.treatment in profiles.columns else profiles


def _refuse_twice(files: Sequence[Path], frames: Sequence[pl.DataFrame]) -> None:
    wells = pl.concat([frame.select(*KEYS, file=pl.lit(str(file))) for file, frame in zip(files, frames, strict=True)])
    twice = wells.filter(wells.select(KEYS).is_duplicated())
    if twice.height:
        plate, well = twice.row(0)[:2]
        both = twice.filter(Metadata_Plate=plate, Metadata_Well=well)["file"]
        raise InputError(both[0], f"plate {plate}, well {well}", f"the same well in {both[1]}", "a well in one file",
                         "Give the files of one stage, such as */*_normalized_feature_select_*.csv.gz.")  # fmt: skip
