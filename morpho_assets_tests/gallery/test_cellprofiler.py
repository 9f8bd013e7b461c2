"""The cells of an export in one file, and exports and profiles that are spoilt."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.gallery.cellprofiler import (
    CellProfilerConfig,
    read_analysis,
    read_cytotable,
    read_sqlite,
    read_wells,
    to_parquet,
)
from morpho_assets.profiles.aggregate import aggregate
from morpho_assets_tests.gallery.exports import export, site, write_csv, write_sqlite


def test_sites_stream_into_one_parquet_file(tmp_path: Path) -> None:
    for number, cells in enumerate([2, 0, 3], start=1):
        site(tmp_path / "analysis" / f"PLATE-A01-{number}", cells)
    assert to_parquet(read_analysis(tmp_path / "analysis"), tmp_path / "cells.parquet") == 5
    profile = aggregate(pl.scan_parquet(tmp_path / "cells.parquet"))
    assert profile["Metadata_Count_Cells"].to_list() == [5]
    assert profile["Cells_AreaShape_Area"].to_list() == [20.0]


def test_frames_of_another_pipeline_are_named(tmp_path: Path) -> None:
    site(tmp_path / "one/P-A01-1")
    site(tmp_path / "two/P-A01-2", extra=",Texture_New")
    both = chain(read_analysis(tmp_path / "one"), read_analysis(tmp_path / "two"))
    with pytest.raises(InputError, match=r"P-A01-2.*Cells_Texture_New"):
        to_parquet(both, tmp_path / "cells.parquet")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]  # no half of the cells


def test_an_older_file_stays_until_all_sites_are_written(tmp_path: Path) -> None:
    site(tmp_path / "P-A01-1", 3)
    assert to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet") == 3
    (site(tmp_path / "P-A01-2") / "Cells.csv").write_text("ImageNumber,ObjectNumber\n7\n")
    with pytest.raises(InputError, match="found 1 cells; expected 2"):
        to_parquet(read_analysis(tmp_path), tmp_path / "cells.parquet")
    assert pl.read_parquet(tmp_path / "cells.parquet").height == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P-A01-1", "P-A01-2", "cells.parquet"]


def spoilt(data: st.DataObject, whole: bytes) -> bytes:
    """The bytes cut, flipped or with something between them."""
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "insert"]))
    if kind == "cut":
        return whole[:at]
    if kind == "flip":
        return whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    return (
        whole[:at]
        + data.draw(st.sampled_from([b",", b"\n", b'"', b"\t", b";", b"\0", b"\xff\xfe", b"1e999"]))
        + whole[at:]
    )


@pytest.mark.parametrize(
    "kind", ["analysis", "sqlite", "cytotable", "profiles.csv", "profiles.csv.gz", "profiles.parquet"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_spoilt_files_are_read_or_refused_by_an_error_of_ours(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    tables, config = export(), CellProfilerConfig(defaults={"plate": "P1"})
    cells = pl.DataFrame({"Metadata_Plate": ["P1"] * 2, "Metadata_Well": ["A01", "A02"], "Cells_A": [0.5, 1.5]})
    file = tmp_path / kind
    if kind == "analysis":
        file = write_csv(file, tables) / f"{data.draw(st.sampled_from(sorted(tables)))}.csv"
    elif kind == "sqlite":
        file.unlink(missing_ok=True)
        write_sqlite(file, tables)
    elif kind in ("cytotable", "profiles.parquet"):
        cells.write_parquet(file)
    else:
        text = cells.write_csv().encode()
        file.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    file.write_bytes(spoilt(data, file.read_bytes()))
    read: dict[str, Callable[[], object]] = {
        "analysis": lambda: list(read_analysis(file.parent, config)),
        "sqlite": lambda: list(read_sqlite(file, config)),
        "cytotable": lambda: list(read_cytotable(file, config)),
    }
    with suppress(InputError):
        read.get(kind, lambda: read_wells(file))()
