"""`morpho design`, as a terminal user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from morpho_assets.cli import main
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table
from morpho_assets.profiles.normalize import normalize
from morpho_assets_tests.evaluate.conftest import screen
from morpho_assets_tests.factories import commit_tables, plate, write_settings

QUICK = ("--simulations", "10", "--processes", "1", "--effect", "2", "12")


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets variables for Dagster; they end with the test."""
    for name in ("MORPHO_SETTINGS", "DAGSTER_HOME", "MORPHO_STATE_DIR", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, str(tmp_path / "state"))


def design(folder: Path, *arguments: object) -> int:
    return main(["--settings", str(folder / "morpho.yaml"), "design", *map(str, arguments)])


def test_the_simulator_needs_no_settings_and_gives_table_advice_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = "--out", tmp_path / "new/power.csv", "--picture", tmp_path / "new/power.png"
    assert design(tmp_path, *QUICK, "--replicates", 3, "--controls", 8, 16, "--over", "all", *files) == 0
    said = capsys.readouterr().out
    assert "wells drawn by the simulator, with plate and position effects" in said.lower()
    assert re.search(r"3 +16 +on different plates +\d+ % \[\d+, \d+\]", said)
    assert re.search(
        r"With \d+ controls a plate and 3 replicates on different plates an effect of 12 is found in", said
    )
    assert "12 simulated treatments of each size per design, seed 0." in said
    rows = pl.read_csv(tmp_path / "new/power.csv")
    assert rows.select("replicates", "controls", "effect").rows() == [(3, 8, 2), (3, 8, 12), (3, 16, 2), (3, 16, 12)]
    with Image.open(tmp_path / "new/power.png") as picture:
        assert picture.size[0] > 500


def own_plates(folder: Path, controls: int) -> None:
    """Four plates with normalised profiles in the lake of a settings file."""
    write_settings(folder)
    frame = normalize(screen(3.0, controls=controls, treatments=20)).drop("Metadata_moa")
    lake = Lake(str(folder / "data/lake"))
    for name, rows in frame.group_by("Metadata_Plate"):
        well = pl.format("{}{}", pl.lit("A"), pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(2))
        tables = {each: table(each).empty() for each in ("well_profiles", "implausible_cells")}
        commit_tables(lake, "well_profiles", plate(str(name[0])), {
            **tables, "normalized_profiles": rows.with_columns(well.alias("Metadata_Well")),
        })  # fmt: skip


def test_own_controls_are_resampled_where_they_suffice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_plates(tmp_path, controls=24)
    barcodes = [part for name in ("P0", "P1", "P2", "P3") for part in ("--plate", name)]
    few = (*QUICK, "--over", "all", "--replicates", 3, "--controls", 8)
    assert design(tmp_path, *barcodes, *few) == 0
    said = capsys.readouterr().out
    assert "96 negative controls of 4 plates, resampled; effects along the 20 treatments there." in said
    assert design(tmp_path, *barcodes, *few[:-1], 30) == 0
    assert "taken for the covariance that wells are drawn from" in capsys.readouterr().out
    assert design(tmp_path, *barcodes, *few[:-1], 30, "--wells", "resampled") == 1
    assert "96 control wells to resample" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--replicates", "1"), "replicates: found 1; expected 2 or more"),
        (("--active", "1"), "active: found 1.0; expected Input should be less than 1"),
        (("--picture", "x.gif"), "found a file of type .gif; expected .png or .webp"),
        (("--out", "x.xlsx"), "found a file of type .xlsx; expected .csv"),
        (("--wells", "resampled"), "wells: found no plate to resample"),
        (("--plate", "P0", "--controls-in", "columns"), "controls-in: found columns, of real plates"),
        (("--plate", "P9"), "normalized_profiles of plate P9 is not there; materialise it first"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(tmp_path)
    assert design(tmp_path, *arguments) == 1
    assert message in capsys.readouterr().err
