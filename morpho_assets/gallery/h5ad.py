"""Observations and matrix of an AnnData file (.h5ad, anndata 0.8 and later), read without anndata itself.

The layout is anndata's on-disk format: https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from morpho_assets.errors import InputError


def read_h5ad(path: str, file: str) -> pl.DataFrame:
    """One row per observation: the columns of obs as metadata (Metadata_Plate; Plate is the same), then those of X,
    dense or sparse, named by var.

    `file` is what messages call it. Raises InputError for a file that is none, or of an older layout, and where h5py is
    not installed.
    """
    try:
        import h5py
    except ImportError:
        todo = 'Install "morpho-assets[anndata]".'
        raise InputError(file, "", "an AnnData file, and no h5py", "h5py, which reads it", todo) from None
    try:
        with h5py.File(path, "r") as content:
            obs, var = content["obs"], content["var"]
            columns = {_metadata(name): _column(obs[name]) for name in _names(obs, "column-order")}
            names = _column(var[_names(var, "_index")[0]])
            matrix = np.asarray(_matrix(content["X"]), dtype=np.float64)
    except (OSError, KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
        found = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            file, "", found, "an AnnData file with obs, var and X", "Write it again with anndata."
        ) from None
    frame = pl.DataFrame(columns)
    values = pl.DataFrame(np.asfortranarray(matrix), schema=names.to_list(), orient="row")
    return pl.concat([frame, values], how="horizontal") if frame.width else values


def _metadata(name: str) -> str:
    return name if name.startswith(("Metadata_", "Image_Metadata_")) else f"Metadata_{name}"


def _names(group: Any, attribute: str) -> list[str]:
    """One name or several that a group's attribute holds."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(group.attrs[attribute])]


def _column(node: Any) -> pl.Series:
    """An array, categories or values with a mask; null where a category or a value is missing."""
    if hasattr(node, "dtype"):
        return pl.Series(node.asstr()[()] if node.dtype.kind in "OS" else node[()])
    if "codes" in node:
        codes = pl.Series(node["codes"][()])
        known = codes.cast(pl.Int64)
        return _column(node["categories"]).gather(known.set(known < 0, None))
    values = _column(node["values"])
    return values.set(pl.Series(node["mask"][()].astype(bool)), None)


def _matrix(node: Any) -> Any:
    if hasattr(node, "dtype"):
        return node[()]
    from scipy.sparse import csc_matrix, csr_matrix

    kind = csc_matrix if "csc" in _names(node, "encoding-type")[0] else csr_matrix
    parts = (node["data"][()], node["indices"][()], node["indptr"][()])
    return kind(parts, shape=tuple(node.attrs["shape"])).toarray()
