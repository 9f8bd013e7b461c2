"""Sentences on spaces beside each other."""

from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.report.compared import compared_sections, comparisons

FINALS = ["cellprofiler, sphering", "vae", "vae_untrained"]


def rows(*found: tuple[str, str, str, float, float | None, float | None]) -> pl.DataFrame:
    names = ["variant", "scope", "metric", "value", "ci_low", "ci_high"]
    frame = pl.DataFrame(list(found), names, orient="row", infer_schema_length=None)
    return frame.with_columns(
        pl.col("ci_low", "ci_high").cast(pl.Float64), evaluator=pl.lit("replicates"), n=pl.lit(31)
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.06, 0.03, 0.09, "vae is better than vae_untrained by 0.06 (0.03 to 0.09) in mean average precision"),
        (-0.06, -0.09, -0.03, "vae is worse than vae_untrained by 0.06 (0.03 to 0.09) in mean average precision"),
        (-0.01, -0.03, 0.02, "vae is not to be told from vae_untrained by −0.01 (−0.03 to 0.02)"),
    ],
)
def test_a_sentence_says_which_is_better_or_that_nobody_knows(value, low, high, said) -> None:  # type: ignore[no-untyped-def]
    [sentence] = comparisons(rows(("vae", "against vae_untrained", "mAP", value, low, high)), FINALS)
    assert sentence.startswith(said)
    assert sentence.endswith("(replicates, 31 treatments).")


def test_steps_shuffled_twins_other_scores_and_single_treatments_have_no_sentence() -> None:
    metrics = rows(
        ("cellprofiler, sphering", "against cellprofiler", "mAP", 0.1, 0.0, 0.2),
        ("vae", "against vae, shuffled treatments", "mAP", 0.1, 0.0, 0.2),
        ("vae", "against vae_untrained", "fraction_retrieved", 0.1, 0.0, 0.2),
        ("vae", "against vae_untrained", "mAP", 0.1, None, None),
        ("vae", "overall", "mAP", 0.4, 0.3, 0.5),
    )
    assert comparisons(metrics, FINALS) == []
    assert compared_sections(metrics, FINALS) == []
