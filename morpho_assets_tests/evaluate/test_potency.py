from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.hill import Hill
from morpho_assets.evaluate.metrics import Evaluation
from morpho_assets.evaluate.potency import PotencyConfig, control_distances, potency
from morpho_assets.lake.tables import table
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.normalize import normalize
from morpho_assets_tests.evaluate.conftest import value

DOSES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def dosed(effect: float, seed: int = 0, compounds: int = 8, plates: int = 3, controls: int = 16, features: int = 20,
          doses: Sequence[float] = DOSES, half: float = 1.5) -> pl.DataFrame:  # fmt: skip
    """Plates with a well of every compound and dose; a compound moves along its own direction, `effect` SD at most."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(compounds, features))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wells = [(compound, dose) for compound in range(compounds) for dose in doses]
    moved = np.array([direction[c] * Hill(half, 1.5, effect)(dose) for c, dose in wells]).reshape(-1, features)
    kind = [None] * len(wells) + ["negcon"] * controls
    names = {
        "Metadata_Well": pl.Series([f"{chr(65 + i // 24)}{i % 24 + 1:02d}" for i in range(len(kind))]),
        "Metadata_broad_sample": pl.Series([f"c{c}" for c, _ in wells] + ["DMSO"] * controls),
        "Metadata_dose_uM": pl.Series([f"{dose:g}" for _, dose in wells] + [None] * controls, dtype=pl.String),
        "Metadata_control_type": pl.Series(kind, dtype=pl.String),
    }
    frames = []
    for plate in range(plates):
        values = rng.normal(size=(len(kind), features))
        values[: len(wells)] += moved
        frame = pl.DataFrame(values, schema=[f"Cells_{i}" for i in range(features)])
        frames.append(frame.with_columns(pl.lit(f"P{plate}").alias("Metadata_Plate"), **names))
    return pl.concat(frames)


def asked(frame: pl.DataFrame, **settings: Any) -> Evaluation:
    return potency(frame, feature_columns(frame), PotencyConfig(**settings))


def test_planted_doses_are_found_and_shuffled_ones_are_not() -> None:
    found = asked(normalize(dosed(12.0)))
    rows = found.details["potencies"]
    assert rows["potent"].all()
    assert value(found.metrics, "fraction_potent") == 1.0
    assert value(found.metrics, "fraction_potent", "chance") < 0.1
    # distances add in squares: half of the distance beyond the controls' comes later than half of the effect
    assert 1.5 < rows["ec50"].median() < 3.0
    assert (rows["benchmark_dose"] < rows["ec50"]).all()
    inside = (rows["ec50_low"] <= rows["ec50"]) & (rows["ec50"] <= rows["ec50_high"].fill_null(1e9))
    assert inside.all()
    assert found.scores["score"].unique().to_list() == ["potent"]


def test_rows_fit_the_tables() -> None:
    found = asked(dosed(6.0, compounds=2)).details
    place = {"study": pl.lit("s"), "variant": pl.lit("v"), "evaluator": pl.lit("e")}
    for name in ("potencies", "dose_responses"):
        assert table(name).cast(found[name].with_columns(**place)).height == found[name].height


def test_noise_has_no_potency() -> None:
    found = [asked(normalize(dosed(0.0, seed, compounds=10))).details["potencies"] for seed in range(5)]
    rows = pl.concat(found)
    assert rows["potent"].sum() <= 1
    assert rows["ec50"].null_count() >= rows.height - 1
    assert rows["p_value"].mean() == pytest.approx(0.5, abs=0.16)  # 3.9 standard errors
    assert (rows["flags"].str.contains("no effect|lowest dose")).sum() >= rows.height - 1


def test_inert_wells_are_as_far_as_controls_though_these_made_the_scale() -> None:
    apart = []
    for seed in range(6):
        frame = normalize(dosed(0.0, seed, features=200))
        distance = control_distances(frame, feature_columns(frame), PotencyConfig(), seed)
        assert distance is not None
        treated = frame["Metadata_control_type"].is_null().to_numpy()
        apart.append(np.median(distance[treated]) - np.median(distance[~treated]))
    assert np.mean(apart) == pytest.approx(0.0, abs=0.25)


def test_one_dose_two_doses_and_missing_doses_are_said() -> None:
    frame = dosed(8.0, compounds=4)
    dose, compound = pl.col("Metadata_dose_uM"), pl.col("Metadata_broad_sample")
    few = (compound == "c0") & (dose != "1") | (compound == "c1") & ~dose.is_in(["1", "10"])
    gone = (compound == "c2") & dose.is_in(["0.1"])
    frame = frame.filter(~few.fill_null(False)).with_columns(
        pl.when(gone).then(pl.lit("n/a")).otherwise(dose).name.keep()
    )
    frame = frame.with_columns(pl.when(compound == "c3").then(pl.lit(None)).otherwise(dose).name.keep())
    found = asked(frame)
    rows = {row["treatment"]: row for row in found.details["potencies"].iter_rows(named=True)}
    assert rows["c0"]["flags"] == "one dose"
    assert rows["c1"]["flags"] == "2 doses"
    assert rows["c3"]["flags"] == "18 wells without a dose; no dose"
    assert rows["c2"]["flags"].startswith("3 wells without a dose")
    assert rows["c2"]["doses"] == 5
    assert [rows[name]["active"] for name in ("c0", "c1", "c2", "c3")] == [None, None, True, None]
    assert found.metrics["n"].to_list() == [1]


def test_an_effect_at_every_dose_is_no_potency() -> None:
    rows = asked(dosed(15.0, half=0.001, compounds=4)).details["potencies"]
    assert rows["potent"].sum() == 0
    assert rows["flags"].str.contains("below the tested doses|at the lowest dose").all()


def test_a_half_dose_above_the_tested_ones_is_flagged() -> None:
    rows = asked(dosed(200.0, half=150.0, compounds=3)).details["potencies"].filter("active")
    assert rows.height
    assert rows["flags"].str.contains("EC50 above the tested doses|plateau not reached").all()


def test_each_dose_on_a_plate_of_its_own_is_flagged() -> None:
    frame = dosed(12.0, compounds=3)
    plate = pl.when(pl.col("Metadata_dose_uM").is_null()).then("Metadata_Plate").otherwise("Metadata_dose_uM")
    rows = asked(frame.with_columns(plate.alias("Metadata_Plate"))).details["potencies"]
    assert rows["flags"].str.contains("each dose on plates of its own").all()


@pytest.mark.parametrize("case", ["constant", "one control", "no treated well"])
def test_nothing_to_ask(case: str) -> None:
    frame = dosed(8.0)
    if case == "constant":
        frame = frame.with_columns(pl.col("^Cells_.*$") * 0 + 1)
    if case == "one control":
        control = pl.col("Metadata_control_type") == "negcon"
        frame = pl.concat([frame.filter(control).head(1), frame.filter(control.is_null())])
    if case == "no treated well":
        frame = frame.filter(pl.col("Metadata_control_type") == "negcon")
    assert asked(frame).metrics.select("metric", "value", "n").rows() == [("fraction_potent", None, 0)]


def test_missing_values_and_absent_columns_are_named() -> None:
    frame = dosed(8.0)
    with pytest.raises(InputError, match="missing values in 1 features"):
        asked(frame.with_columns(pl.when(pl.col("Metadata_Well") == "A01").then(pl.col("Cells_0")).alias("Cells_0")))
    with pytest.raises(InputError, match=r"no column that is known to hold it.*Metadata_dose_uM"):
        asked(frame.drop("Metadata_dose_uM"))
    with pytest.raises(InputError, match="no column Metadata_molar"):
        asked(frame, dose="Metadata_molar")


def test_the_order_of_wells_changes_nothing() -> None:
    frame = dosed(8.0, compounds=3)
    rows = asked(frame).details["potencies"]
    turned = asked(frame.sample(fraction=1.0, shuffle=True, seed=3)).details["potencies"]
    for row, other in zip(rows.to_dicts(), turned.to_dicts(), strict=True):
        assert other == {name: value if not isinstance(value, float) else pytest.approx(value, rel=1e-6)
                         for name, value in row.items()}  # fmt: skip
