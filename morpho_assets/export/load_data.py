"""The images of a plate as CellProfiler's LoadData and the Gallery's load_data list them: a row per site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from morpho_assets.export.plate import Plate
from morpho_assets.imaging.planes import ONLY
from morpho_assets.imaging.sites import Site


def image_table(plate: Plate, sites: Sequence[Site], illumination: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Metadata_Plate, Metadata_Well, Metadata_Site, and of each channel `FileName_Orig<channel>` and `PathName_…`, or
    `URL_…` where an image lies at an address; `Series_` and `Frame_` where a file holds several planes.

    `illumination` is the file of each channel's function, as `FileName_Illum<channel>` and `PathName_…`. No sites give
    a header without images.
    """
    columns: dict[str, list[Any]] = {}
    channels = sites[0].channels if sites else ()
    for index, channel in enumerate(channels):
        uris = [site.uris[index] for site in sites]
        columns |= _place(f"Orig{channel}", uris)
        planes = [site.planes[index] if site.planes else ONLY for site in sites]
        if any(plane != ONLY for plane in planes):
            columns[f"Series_Orig{channel}"] = [plane.series for plane in planes]
            columns[f"Frame_Orig{channel}"] = [plane.frame for plane in planes]
    for channel, file in (illumination or {}).items():
        columns |= _place(f"Illum{channel}", [file] * len(sites))
    columns["Metadata_Plate"] = [plate.name] * len(sites)
    columns["Metadata_Well"] = [site.well for site in sites]
    columns["Metadata_Site"] = [site.site for site in sites]
    return pl.DataFrame(columns)


def _place(name: str, uris: Sequence[str]) -> dict[str, list[Any]]:
    if any("://" in uri for uri in uris):
        return {f"URL_{name}": list(uris)}
    paths = [PurePosixPath(uri) for uri in uris]
    return {f"FileName_{name}": [path.name for path in paths], f"PathName_{name}": [str(path.parent) for path in paths]}
