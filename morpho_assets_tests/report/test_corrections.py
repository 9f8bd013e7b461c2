"""The chapter on corrections: hits gained and lost are those of the steps, and shuffled ones stand beside them."""

import polars as pl

from morpho_assets.lake.tables import table
from morpho_assets.report.corrections import correction_sections
from morpho_assets.report.study import main_variant

STEPS = {"cells": ["selected", "sphering"], "cell_count": ["selected"]}


def treatments(variant, **q_values):
    return pl.DataFrame({
        "variant": variant, "evaluator": "activity", "treatment": list(q_values),
        "mAP": [1 - q for q in q_values.values()], "q_value": list(q_values.values()),
        "retrieved": [q < 0.05 for q in q_values.values()],
    })  # fmt: skip


ROWS = pl.concat([
    treatments("cells", a=0.01, b=0.2, c=0.01),
    treatments("cells, shuffled treatments", a=0.5, b=0.5, c=0.5),
    treatments("cells, sphering", a=0.01, b=0.04, c=0.3),
    treatments("cells, sphering, shuffled treatments", a=0.01, b=0.5, c=0.5),
    treatments("cell_count", a=0.9, b=0.9, c=0.9),
])  # fmt: skip
NONE = table("metrics").empty(), table("correction_notes").empty()


def rows(table):
    return [dict(zip(table.columns, (cell.text for cell in row), strict=True)) for row in table.rows]


def test_hits_gained_and_lost_at_each_step():
    [section] = correction_sections(STEPS, ROWS, *NONE)
    steps, changes = section.tables
    assert [(row["step"], row["retrieved"], row["gained"], row["lost"]) for row in rows(steps)] == [
        ("selected", "2", "0", "0"), ("sphering", "2", "1", "1"),
    ]  # fmt: skip
    assert [row["retrieved when shuffled"] for row in rows(steps)] == ["0", "1"]
    assert rows(changes) == [
        {"step": "sphering", "change": "gained", "treatment": "b", "mAP before": "0.800", "q before": "0.200",
         "mAP after": "0.960", "q after": "0.0400"},
        {"step": "sphering", "change": "lost", "treatment": "c", "mAP before": "0.990", "q before": "0.0100",
         "mAP after": "0.700", "q after": "0.300"},
    ]  # fmt: skip


def test_a_sweep_is_drawn_and_what_corrections_note_is_told():
    curve = pl.DataFrame([
        {"variant": f"cells, sphering{shuffled}", "evaluator": "sweep", "scope": f"epsilon={value}",
         "metric": f"normalised_AP_{part}", "value": 0.5}
        for shuffled in ("", ", shuffled treatments") for part in ("tuning", "reported") for value in (0.1, 10)
    ])  # fmt: skip
    notes = pl.DataFrame({"study": ["s"], "space": ["cells"], "step": ["sphering"], "note": ["epsilon 0.1"]})
    [section] = correction_sections(STEPS, ROWS, curve, notes)
    [picture] = section.pictures
    assert "every epsilon of cells, sphering" in picture.caption
    assert rows(section.tables[-1]) == [{"space": "cells", "step": "sphering", "note": "epsilon 0.1"}]


def test_a_study_without_corrections_has_no_such_chapter():
    assert correction_sections({"cells": ["selected"]}, ROWS, *NONE) == []


def test_notes_on_spaces_without_corrections_are_told():
    notes = pl.DataFrame({"study": ["s"], "space": ["cells"], "step": ["selected"], "note": ["plate P2 lacks 1 of 9"]})
    [section] = correction_sections({"cells": ["selected"]}, ROWS, NONE[0], notes)
    assert section.answer == "No space is corrected. Notes on cells: 1."
    assert rows(section.tables[0]) == [{"space": "cells", "step": "selected", "note": "plate P2 lacks 1 of 9"}]


def test_the_study_s_hits_are_those_after_the_last_correction():
    assert main_variant(STEPS) == "cells, sphering"
    assert main_variant({"jump": ["aggregated", "normalize", "harmony"]}) == "jump, harmony"
    assert main_variant({"cells": ["selected"]}) == "cells"


def test_changed_treatments_have_their_names_where_these_are_known():
    named = ROWS.with_columns(Metadata_pert_iname=pl.col("treatment").str.to_uppercase())
    [section] = correction_sections(STEPS, named, *NONE)
    assert [row["pert iname"] for row in rows(section.tables[1])] == ["B", "C"]
