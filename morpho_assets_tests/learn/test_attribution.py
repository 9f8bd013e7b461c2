"""Where encoders look: what is drawn, what counts as looked at, and the tables on plates whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.attention import attention_metrics, variance_ratio
from morpho_assets.lake.lake import Lake
from morpho_assets.learn.attribution import REFERENCES, AttributionConfig, attribute_study, draw_windows, looked_at
from morpho_assets.report.attention import attention_sections
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import commit_work, study, study_work
from morpho_assets_tests.learn.plates import EMPTY, SIDE, WELLS, train, write_plates

SMALL = {"kind": "supervised", "architecture": "small", "crop_size": SIDE, "size": SIDE, "epochs": 4, "device": "cpu"}


def asked(**settings: object) -> Study:
    return Study.model_validate({
        "name": "s", "title": "S", "encoders": {"net": SMALL}, "spaces": {"net": {"of": "embedding"}},
        "attributions": {"net": {"windows": 4, "shown": 1, **settings}}, "evaluators": {},
    })  # fmt: skip


def attributed(lake: Lake, folder: Path, of: Study, plates: tuple[str, ...] = ("P1", "P2")) -> tuple[pl.DataFrame, ...]:
    """The tables `attributions` and `metrics` of a study on small plates."""
    sources = write_plates(folder, lake, plates)
    for name in of.encoders:
        train(lake, of, name, sources)
    work = study_work(lake, "attributions", of, sources)
    attribute_study(work, attention_metrics)
    commit_work(work)
    tables = lake.latest(["attributions"], [study("s")])
    return tables.read("attributions", "s"), tables.read("metrics", "s")


def test_an_encoder_and_its_twin_are_asked_about_the_same_windows(tmp_path: Path):
    methods = ["grad_cam", "integrated_gradients", "occlusion"]
    rows, metrics = attributed(Lake(str(tmp_path / "lake")), tmp_path, asked(methods=methods))
    treatments = 1 + len(WELLS) - 3 - 1  # controls, and drugs with cells
    assert EMPTY not in set(rows["Metadata_Well"])
    assert rows.height == 2 * 3 * 4 * treatments
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "number"]
    own, twin = (
        rows.filter(encoder=name, method="grad_cam").select(keys).sort(keys) for name in ("net", "net_untrained")
    )
    assert own.equals(twin)
    assert rows.group_by("encoder").agg(pl.col("by_head").unique()).sort("encoder")["by_head"].to_list() == [
        [True],
        [False],
    ]
    assert (rows["share_nucleus"] + rows["share_cytoplasm"] + rows["share_outside"]).to_numpy() == pytest.approx(1)
    heat = rows.select((pl.col("^heat_.+$")).cast(pl.Float64)).drop_nulls().sum_horizontal().to_numpy()
    assert heat == pytest.approx(1)
    assert rows.filter(pl.col("heat").is_not_null()).height == 2 * 3 * treatments
    overall = metrics.filter(scope="overall", metric="area")
    assert overall.height == 2 * 3
    assert set(overall["chance"].round(6)) == {0.2}
    assert set(metrics["scope"]) >= {"overall", "against net_untrained", "DMSO", "drug B01"}
    [section] = attention_sections(rows, metrics)
    assert "times as much heat in nuclei" in section.answer
    assert len(section.pictures) == 3
    assert all(picture.image[:4] == b"RIFF" for picture in section.pictures)


def test_studies_that_ask_nothing_have_no_attributions(tmp_path: Path):
    of = asked().model_copy(update={"attributions": {}})
    rows, metrics = attributed(Lake(str(tmp_path / "lake")), tmp_path, of, ("P1",))
    assert rows.is_empty()
    assert metrics.is_empty()
    assert attention_sections(rows, metrics) == []


def test_treatments_and_encoders_that_are_not_there_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"attributions\.net, treatments: found drug X"):
        attributed(Lake(str(tmp_path / "lake")), tmp_path, asked(treatments=["drug X"]), ("P1",))
    with pytest.raises(InputError, match="Did you mean net"):
        asked(encoder="nets")


def test_windows_are_drawn_evenly_and_unseen_ones_first():
    rows = pl.DataFrame({
        "Metadata_Plate": "P", "Metadata_Well": ["A01"] * 30 + ["A02"] * 30 + ["A03"] * 5, "Metadata_Site": 1,
        "number": [*range(30), *range(30), *range(5)], "treatment": ["a"] * 60 + ["b"] * 5,
        "seen": [True] * 30 + [False] * 35,
    })  # fmt: skip
    drawn = draw_windows(rows, AttributionConfig(windows=6))
    of = {name: drawn.filter(treatment=name) for name in "ab"}
    assert of["a"].height == 6 + REFERENCES
    assert set(of["a"].filter(role="explained")["Metadata_Well"]) == {"A02"}
    assert set(of["a"].filter(role="reference")["Metadata_Well"]) == {"A01"}
    assert sorted(of["b"]["role"].to_list()) == ["explained"] * 3 + ["reference"] * 2
    assert drawn.equals(draw_windows(rows, AttributionConfig(windows=6)))


@pytest.mark.parametrize(
    ("threshold", "level", "area", "inside"),
    [
        ("absolute", 0.5, [0.25, 0.0], [1.0, np.nan]),
        ("window", 0.5, [0.25, 0.5], [1.0, 0.35]),  # the median of 0 0 0 1 is 0, of .1 .2 .3 .4 it is .25
        ("pooled", 0.5, [0.25, 0.75], [1.0, 0.3]),  # of all eight it is .15
    ],
)
def test_areas_by_hand(threshold, level, area, inside):
    heat = np.array([[[0, 0], [0, 1]], [[0.1, 0.2], [0.3, 0.4]]], np.float32)
    found = looked_at(heat, np.ones_like(heat, bool), threshold, level)
    np.testing.assert_allclose(found[0], area, rtol=1e-6)
    np.testing.assert_allclose(found[1], inside, rtol=1e-6)


def test_areas_of_a_region_alone_and_of_none():
    heat = np.array([[[0, 0.2], [0, 1]]], np.float32)
    region = np.array([[[False, True], [False, True]]])
    area, inside = looked_at(heat, region, "absolute", 0.5)
    assert (area[0], inside[0]) == (0.5, 1.0)
    area, inside = looked_at(heat, np.zeros_like(region), "pooled", 0.5)
    assert np.isnan([area[0], inside[0]]).all()


def table_of(areas: dict[str, list[float]], right: list[bool]) -> pl.DataFrame:
    """Rows of `attributions`, a well for each window."""
    treatment = [name for name, values in areas.items() for _ in values]
    n = len(treatment)
    frame = pl.DataFrame({
        "attribution": "net", "encoder": "net", "method": "occlusion", "Metadata_Plate": "P",
        "Metadata_Well": [f"A{number:02d}" for number in range(n)], "Metadata_Site": 1, "number": 1,
        "treatment": treatment, "area": [value for values in areas.values() for value in values],
        "mean_inside": 0.7, "level": 0.8, "right": right, "classes": 4,
    })  # fmt: skip
    shares = {"nucleus": (0.3, 0.1), "cytoplasm": (0.3, 0.3), "outside": (0.4, 0.6)}
    columns = {f"{kind}_{name}": each[at] for name, each in shares.items() for at, kind in enumerate(("heat", "share"))}
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def test_metrics_by_hand():
    rng = np.random.default_rng(0)
    areas = {name: list(at + rng.normal(0, 0.02, 10)) for name, at in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4))}
    right = [number % 10 < share for share in (8, 6, 4, 2) for number in range(10)]
    metrics = attention_metrics(table_of(areas, right))
    overall = {row["metric"]: row for row in metrics.filter(scope="overall").iter_rows(named=True)}
    assert overall["area"]["value"] == pytest.approx(np.mean(list(areas.values())))
    assert [overall[f"density_{name}"]["value"] for name in ("nucleus", "cytoplasm", "outside")] == pytest.approx(
        [3, 1, 2 / 3]
    )
    assert overall["density_nucleus"]["chance"] == 1
    assert overall["area_F"]["value"] > 50
    assert overall["area_F"]["chance"] == pytest.approx(36 / 34)
    assert overall["area_and_accuracy"]["value"] == pytest.approx(-1)
    assert overall["named_rightly"]["value"] == pytest.approx(0.5)
    assert overall["named_rightly"]["chance"] == 0.25
    assert overall["area_right"]["value"] < 0.5
    assert metrics.filter(scope="a", metric="area")["value"][0] == pytest.approx(np.mean(areas["a"]))


def test_areas_that_do_not_differ_have_an_F_near_1():
    rng = np.random.default_rng(1)
    found = [variance_ratio([rng.normal(size=6) for _ in range(5)]) for _ in range(200)]
    assert np.mean([each[0] for each in found]) == pytest.approx(found[0][2], abs=0.2)
    assert np.mean([each[1] < 0.05 for each in found]) < 0.1
    assert np.isnan(variance_ratio([np.ones(3), np.ones(3)])[0])
    assert np.isnan(variance_ratio([np.array([1.0, 2.0])])[0])
