"""AnnData files (.h5ad or .zarr) of cells, wells and treatments, in the layout that anndata 0.12 reads.

`X` are measurements, `obs` what is known of a row, `obsm` its embeddings, maps and other feature spaces, `layers` the
same measurements in other units or after other steps, `uns["about"]` where all of it comes from (JSON). Missing values
are NaN. Cells are written a few thousand at a time; wells and treatments a feature space at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import InputError, LakeError
from morpho_assets.export.about import About
from morpho_assets.export.plate import KEYS, Plate, stream
from morpho_assets.export.written import Written
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import SPACE_FEATURES, has_prefix

Kind = Literal["h5ad", "zarr"]
CHUNK = 1_000
"""Rows of a chunk of a matrix."""
_SPACE = [family.prefix for family in SPACE_FEATURES]


def export_cells(plate: Plate, out: Written, kind: Kind = "h5ad", progress: Progress = no_progress) -> str:
    """Write `<plate>.cells.<kind>`, a row per cell; returns its name.

    `obs` are the cell's keys, and its well's treatment and annotation; `obsm["spatial"]` the centre of its nucleus
    (column, row, px), `obsm["X_<encoder>"]` its embedding under each encoder that there is. Raises LakeError where the
    plate has no cells, and InputError without anndata.
    """
    _require_anndata()
    name = f"{plate.name}.cells.{kind}"
    stages = ["plate_manifest", "single_cells", *(["masks"] if plate.tables.has("objects", plate.name) else [])]
    commits = plate.tables.commits.values()
    embedded = sorted([*each.partition, each.content] for each in commits if each.stage == "embeddings")
    made_from = ["cells", kind, plate.made_from(*stages), embedded]
    out.put(name, made_from, lambda path: _write_cells(plate, path, kind, progress))
    return name


def export_wells(plate: Plate, out: Written, kind: Kind = "h5ad", progress: Progress = no_progress) -> str:
    """Write `<plate>.wells.<kind>`, a row per well: `X` in units of the controls, `layers["measured"]` as measured."""
    _require_anndata()
    name = f"{plate.name}.wells.{kind}"

    def write(path: Path) -> None:
        frame = plate.tables.read("normalized_profiles", plate.name)
        features = [each for each in frame.columns if has_prefix(each, _SPACE)]
        measured = plate.tables.read("well_profiles", plate.name)
        keys = ["Metadata_Plate", "Metadata_Well"]
        raw = frame.select(keys).join(measured, on=keys, how="left", maintain_order="left")
        with _opened(path, kind) as root:
            _write_frames(root, frame.drop(features), _index(frame, keys), features, plate.about)
            _write_matrix(root, "X", frame.height, len(features), [_values(frame, features)])
            _write_matrix(_layers(root), "measured", frame.height, len(features), [_values(raw, features)])
        progress(name, 1, 1)

    out.put(name, ["wells", kind, plate.made_from("well_profiles")], write)
    return name


def export_study(
    tables: Snapshot, study: str, spaces: Sequence[str], about: About, out: Written, kind: Kind = "h5ad",
    progress: Progress = no_progress,
) -> list[str]:  # fmt: skip
    """Write `<study>.wells.<kind>` and `<study>.treatments.<kind>`; returns their names.

    `spaces` are those of the study in its order. `X` is the first of them after its last step; its other steps with the
    same features are layers, every other space and step is `obsm["<space>"]` or `obsm["<space>.<step>"]` with the names
    of its features, and every map `obsm["X_<method>.<space>"]`. Raises LakeError where the study has no profiles.
    """
    _require_anndata()
    made_from = [[commit.stage, *commit.partition, commit.content] for commit in about.commits]
    names = []
    for table, keys, what in (
        ("profiles", ["Metadata_Plate", "Metadata_Well"], "wells"), ("treatment_profiles", ["treatment"], "treatments"),
    ):  # fmt: skip
        name = f"{_key(study)}.{what}.{kind}"

        def write(path: Path, table: str = table, keys: Sequence[str] = keys, name: str = name) -> None:
            _write_study(tables, study, spaces, table, keys, about, path, kind)
            progress(name, 1, 1)

        out.put(name, [what, kind, list(spaces), sorted(made_from)], write)
        names.append(name)
    return names


# Below: how


def _write_cells(plate: Plate, path: Path, kind: Kind, progress: Progress) -> None:
    obs = plate.measured
    total = obs.height
    known = plate.wells.drop("described", strict=False)
    wells = known.drop("Metadata_Plate")
    index = _index(obs, KEYS)
    with _opened(path, kind) as root:
        annotated = obs.join(wells, on="Metadata_Well", how="left", maintain_order="left")
        _write_frames(root, annotated, index, plate.features, plate.about)
        done = 0

        def blocks() -> Iterator[np.ndarray]:
            nonlocal done
            for batch in stream(plate.tables, "single_cells", plate.name):
                yield _values(batch, plate.features)
                done += batch.height
                progress(path.name, done, total)

        _write_matrix(root, "X", total, len(plate.features), blocks())
        places = root["obsm"]
        if plate.tables.has("objects", plate.name):
            centres = ["Nuclei_Center_X", "Nuclei_Center_Y"]
            objects = plate.tables.scan("objects", [plate.name]).select(*KEYS, *centres).collect()
            where = obs.join(objects, on=KEYS, how="left", maintain_order="left")
            _write_matrix(places, "spatial", total, 2, [_values(where, centres)])
        for encoder, rows in _embeddings(plate):
            joined = obs.join(rows, on=KEYS, how="left", maintain_order="left")
            width = max(rows["embedding"].list.len().to_list(), default=0)
            matrix = np.full((total, width), np.nan, np.float32)
            there = joined["embedding"].is_not_null().to_numpy()
            if there.any():
                matrix[there] = np.stack(joined["embedding"].drop_nulls().to_list())
            _write_matrix(places, f"X_{_key(encoder)}", total, width, [matrix])


def _embeddings(plate: Plate) -> Iterator[tuple[str, pl.DataFrame]]:
    """Name and rows of each encoder that the plate's cells were embedded under, one in memory at a time; where two
    studies have encoders of one name, the study is put before."""
    if not plate.tables.has("embeddings", plate.name):
        return
    scan = plate.tables.scan("embeddings", [plate.name])
    pairs = scan.select("study", "encoder").unique().sort("study", "encoder").collect().rows()
    names = [encoder for _, encoder in pairs]
    for study, encoder in pairs:
        rows = scan.filter(study=study, encoder=encoder).select(*KEYS, "embedding").collect()
        yield (encoder if names.count(encoder) == 1 else f"{study}.{encoder}"), rows


def _write_study(
    tables: Snapshot, study: str, spaces: Sequence[str], table: str, keys: Sequence[str], about: About, path: Path,
    kind: Kind,
) -> None:  # fmt: skip
    scan = tables.scan(table, [study])
    pairs = scan.select("space", "step").unique(maintain_order=True).collect().rows()
    if not pairs:
        raise LakeError(f"table {table} of study {study} has no rows: there is nothing to export")
    place = {space: number for number, space in enumerate(spaces)}
    pairs = sorted(pairs, key=lambda pair: (place.get(pair[0], len(place)), pair[1] != "selected"))
    first = pairs[0][0]
    last: dict[str, str] = dict(pairs)
    shape = scan.collect_schema().names()
    described = [name for name in shape if name.startswith("Metadata_") or name in keys]
    obs = scan.select(described).unique(subset=list(keys), keep="first", maintain_order=True).collect()
    main, features = _space(scan, first, last[first], obs, keys)
    with _opened(path, kind) as root:
        _write_frames(root, obs, _index(obs, keys), features, about)
        _write_matrix(root, "X", obs.height, len(features), [_values(main, features)])
        for space, step in pairs:
            if (space, step) == (first, last[first]):
                continue
            frame, own = _space(scan, space, step, obs, keys)
            if space == first and own == features:
                _write_matrix(_layers(root), _key(step), obs.height, len(own), [_values(frame, own)])
            else:
                name = _key(space if step == last[space] else f"{space}.{step}")
                _write_named(root["obsm"], name, _index(obs, keys), _values(frame, own), own)
        if table == "profiles" and tables.has("projections", study):
            maps = tables.read("projections", study).partition_by("method", "space", "step", as_dict=True)
            for (method, space, step), rows in maps.items():
                if step == last.get(str(space)):
                    placed = obs.select(keys).join(rows, on=list(keys), how="left", maintain_order="left")
                    name = f"X_{_key(f'{method}.{space}')}"
                    _write_matrix(root["obsm"], name, obs.height, 2, [_values(placed, ["x", "y"])])


def _space(
    scan: pl.LazyFrame, space: str, step: str, obs: pl.DataFrame, keys: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """The rows of one space and step in the order of `obs`, and its features: those with a value somewhere."""
    rows = scan.filter(space=space, step=step).collect()
    features = [name for name in rows.columns if has_prefix(name, _SPACE) and rows[name].null_count() < rows.height]
    own = rows.select(*keys, *features)
    return obs.select(keys).join(own, on=list(keys), how="left", maintain_order="left"), features


def _require_anndata() -> None:
    try:
        import anndata  # noqa: F401
    except ImportError:
        todo = 'Install "morpho-assets[anndata]".'
        raise InputError("morpho export", "", "no anndata", "anndata, which writes these files", todo) from None


@contextmanager
def _opened(path: Path, kind: Kind) -> Iterator[Any]:
    """The root group of a new file, with the empty groups that every AnnData has."""
    from anndata.io import write_elem

    if kind == "h5ad":
        import h5py

        root: Any = h5py.File(path, "w")
    else:
        import zarr

        root = zarr.open_group(str(path), mode="w", zarr_format=2)
    try:
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name in ("obsm", "varm", "obsp", "varp", "layers"):
            write_elem(root, name, {})
        yield root
        if kind == "zarr":
            import zarr

            zarr.consolidate_metadata(root.store)
    finally:
        if kind == "h5ad":
            root.close()


def _layers(root: Any) -> Any:
    return root["layers"]


def _write_frames(root: Any, obs: pl.DataFrame, index: Sequence[str], features: Sequence[str], about: About) -> None:
    """`obs`, `var` with compartment, module and channel of each feature, and `uns`."""
    import pandas as pd
    from anndata.io import write_elem

    write_elem(root, "obs", _pandas(obs, index))
    parts = [_parts(name) for name in features]
    var = {what: _categories([part[i] for part in parts]) for i, what in enumerate(("compartment", "module"))}
    write_elem(root, "var", pd.DataFrame(var, index=pd.Index(list(features), dtype=object)))
    plain = about.plain()
    said = {name: value for name, value in plain.items() if isinstance(value, str | float)}
    write_elem(root, "uns", {"about": about.text(), **said})


def _parts(feature: str) -> tuple[str, str]:
    """Compartment and module of a CellProfiler feature; of others the start of the name."""
    compartment, _, rest = feature.partition("_")
    return compartment, rest.partition("_")[0]


def _write_matrix(group: Any, name: str, rows: int, columns: int, blocks: Iterable[np.ndarray]) -> None:
    """A (rows, columns) float32 array, from blocks of rows that come one after the other.

    Raises LakeError where the blocks are not as many rows as they were to be.
    """
    options = {"shape": (rows, columns), "dtype": np.dtype("float32")}
    chunks = (max(min(rows, CHUNK), 1), max(columns, 1))
    if hasattr(group, "create_array"):  # zarr
        array = group.create_array(name, chunks=chunks, **options)
    else:
        array = group.create_dataset(name, chunks=chunks if rows and columns else None, **options)
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    done = 0
    for block in _whole_chunks(blocks):
        array[done : done + len(block)] = block
        done += len(block)
    if done != rows:
        raise LakeError(f"{name} has {done} rows where {rows} were to be; the table changed on its way")


def _whole_chunks(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same rows in blocks of whole chunks, so that no chunk is written twice."""
    rest: np.ndarray | None = None
    for block in blocks:
        rows = block if rest is None or not len(rest) else np.concatenate([rest, block])
        whole = len(rows) // CHUNK * CHUNK
        if whole:
            yield rows[:whole]
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield rest


def _write_named(group: Any, name: str, index: Sequence[str], values: np.ndarray, columns: Sequence[str]) -> None:
    """A matrix with named columns, which anndata reads as a data frame."""
    import pandas as pd
    from anndata.io import write_elem

    rows, names = (pd.Index(list(each), dtype=object) for each in (index, columns))
    write_elem(group, name, pd.DataFrame(values, index=rows, columns=names))


def _pandas(frame: pl.DataFrame, index: Sequence[str]) -> Any:
    """Text as categories, whole numbers with gaps as nullable, so that what is missing stays missing."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for column in frame:
        if column.dtype == pl.String:
            columns[column.name] = _categories(column.to_list())
        elif column.dtype.is_integer() and column.null_count():
            columns[column.name] = pd.array(column.to_list(), dtype="Int64")
        elif column.dtype == pl.Boolean and column.null_count():
            columns[column.name] = pd.array(column.to_list(), dtype="boolean")
        else:
            columns[column.name] = column.to_numpy()
    return pd.DataFrame(columns, index=pd.Index(list(index), dtype=object))


def _categories(texts: Sequence[str | None]) -> Any:
    """Text as categories of Python's own strings: anndata cannot write those of pandas 3."""
    import pandas as pd

    known = sorted({text for text in texts if text is not None})
    return pd.Categorical(texts, categories=pd.Index(known, dtype=object))


def _index(frame: pl.DataFrame, keys: Sequence[str]) -> list[str]:
    """The name of each row: its keys with _ between."""
    return ["_".join(map(str, row)) for row in frame.select(keys).iter_rows()]


def _values(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(n, columns) float32, NaN where there is no value."""
    if not columns:
        return np.empty((frame.height, 0), np.float32)
    return frame.select(pl.col(list(columns)).cast(pl.Float32).fill_null(float("nan"))).to_numpy()


def _key(name: str) -> str:
    """A name that may be a part of a path in the file."""
    return re.sub(r"[/\\\s]+", "_", name)
