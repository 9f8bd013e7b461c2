from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.published import read_profiles


def test_published_profiles(jump_plates: pl.DataFrame) -> None:
    assert jump_plates.height == 3 * 384
    assert len(feature_columns(jump_plates)) == 904
    assert jump_plates.filter(Metadata_control_type="negcon")["Metadata_Perturbation"].unique().to_list() == ["DMSO"]


def write(path: Path, plate: str, values: list[str], column: str = "Cells_A") -> Path:
    rows = "".join(f"{plate},A{i + 1},{value},{i}.5\n" for i, value in enumerate(values))
    path.write_text(f"Metadata_Plate,Metadata_Well,{column},Cells_B\n{rows}")
    return path


def test_a_feature_that_one_plate_lacks_stays_a_feature(tmp_path: Path) -> None:
    files = [write(tmp_path / "P.csv", "P", ["nan", "nan"]), write(tmp_path / "Q.csv", "Q", ["1", "2.5"])]
    found = read_profiles(files)
    assert feature_columns(found) == ["Cells_A", "Cells_B"]
    assert found["Cells_A"].to_list() == [None, None, 1.0, 2.5]


def test_a_well_in_two_files_is_refused_with_both_names(tmp_path: Path) -> None:
    files = [write(tmp_path / name, "P", ["1", "2"]) for name in ("P_augmented.csv", "P_normalized.csv")]
    with pytest.raises(
        InputError, match=r"P_augmented.csv, plate P, well A01: .*P_normalized.csv.* files of one stage"
    ):
        read_profiles(files)


def test_no_file_is_one_message() -> None:
    with pytest.raises(InputError, match="at least one file"):
        read_profiles([])
