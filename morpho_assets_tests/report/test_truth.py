"""The chapter on known truth: there where checks are, absent where nothing is known."""

import polars as pl

from morpho_assets.evaluate.metrics import metrics_frame
from morpho_assets.evaluate.truth import Finding
from morpho_assets.evaluate.truth.checks import points_frame
from morpho_assets.report.truth import truth_sections


def chapter(*findings):
    sections = truth_sections(
        metrics_frame([row for finding in findings for row in finding.rows()]), points_frame(findings)
    )
    return sections[0] if sections else None


def test_checks_that_hold_and_points_become_two_pictures_and_a_table():
    points = [("P1 A01", 10.0, 9.0), ("P1 A02", 20.0, 22.0)]
    section = chapter(Finding("count_error", 0.1, 2, None, points), Finding("nuclei_f1", 0.95, 2, 0.0))
    assert section.title == "Does it see what is there?"
    assert "2 of 2 checks hold." in section.answer
    assert len(section.pictures) == 2
    assert all(picture.image[8:12] == b"WEBP" for picture in section.pictures)
    assert section.tables[0].total == 2


def test_a_check_that_does_not_hold_is_named_first():
    section = chapter(Finding("nsc", 0.2, 20, 0.1), Finding("nuclei_f1", float("nan"), 0))
    assert "0 of 2 checks hold; these do not: nsc, nuclei f1." in section.answer


def test_a_check_that_its_counterpart_passes_does_not_hold():
    section = chapter(Finding("nsc", 0.9, 20, 0.1, counterpart=0.8), Finding("nuclei_f1", 0.95, 2, counterpart=0.02))
    assert "1 of 2 checks hold; these do not: nsc." in section.answer
    assert section.tables[0].total == 2


def test_real_plates_have_no_such_chapter():
    assert chapter() is None
    plain = metrics_frame([]).with_columns(pl.lit("x").alias("evaluator"))
    assert truth_sections(plain, points_frame([])) == []
