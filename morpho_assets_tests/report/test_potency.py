from __future__ import annotations

import polars as pl

from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.potency import PotencyConfig, potency
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.study import SHUFFLED
from morpho_assets.report.potency import potency_sections
from morpho_assets_tests.evaluate.test_potency import dosed


def test_curves_are_shown_beside_what_shuffled_doses_and_treatments_give() -> None:
    frame = dosed(15.0, compounds=4)
    name = pl.concat_str("Metadata_broad_sample", "Metadata_dose_uM", separator="@", ignore_nulls=True)
    frame = frame.with_columns(name.alias("Metadata_Perturbation"))
    parts = []
    for variant, rows in (("cells", frame), (f"cells, {SHUFFLED}", shuffled(frame))):
        found = potency(rows, feature_columns(rows), PotencyConfig(shuffles=200))
        frames = (found.metrics, found.details["potencies"], found.details["dose_responses"])
        parts.append([each.with_columns(variant=pl.lit(variant), evaluator=pl.lit("doses")) for each in frames])
    metrics, potencies, responses = (pl.concat(each) for each in zip(*parts, strict=True))
    [section] = potency_sections(metrics, potencies, responses, "cells")
    assert section.title == "At which dose: doses"
    assert section.answer.startswith("4 of 4 compounds with enough doses have a potency in the space cells;")
    assert "with the doses of each compound shuffled 0 % have one, with treatments shuffled among the wells 0 %" in (
        section.answer
    )
    assert [row[0].text for row in section.tables[0].rows] == potencies.filter(variant="cells").sort("benchmark_dose")[
        "treatment"
    ].to_list()
    assert len(section.pictures) == 1


def test_without_doses_there_is_no_chapter() -> None:
    frame = dosed(8.0, doses=(1.0,))
    found = potency(frame, feature_columns(frame))
    place = {"variant": pl.lit("cells"), "evaluator": pl.lit("doses")}
    frames = (found.metrics, found.details["potencies"], found.details["dose_responses"])
    assert potency_sections(*(each.with_columns(**place) for each in frames), "cells") == []
