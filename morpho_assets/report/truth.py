"""The chapter "Does it see what is there?": what was planted in simulated plates beside what was found."""

from __future__ import annotations

import polars as pl

from morpho_assets.evaluate.truth import CHECKS
from morpho_assets.report.figures import checks_chart, planted_panels
from morpho_assets.report.page import Picture, Section, frame_table

# The checks whose units make a picture: title, what was planted, what was found.
PANELS = {
    "count_error": ("Cells of a site", "true cells", "cells found"),
    "effect_length": ("Length of an effect", "planted (SD of cells)", "recovered (squared)"),
    "map_rises": ("Retrieval", "planted (SD of cells)", "mAP"),
    "nuclear_area": ("Nuclear area", "planted (SD of cells)", "found (SD of controls)"),
    "er_intensity": ("ER stain", "planted (SD of cells)", "found (SD of controls)"),
    "viability": ("Cell count", "planted (log)", "cells of a well, median"),
    "position": ("Light of inert wells", "planted (log)", "found (log)"),
    "drift": ("Stains of plates", "planted (log2)", "found (log2)"),
}


def truth_sections(metrics: pl.DataFrame, points: pl.DataFrame) -> list[Section]:
    """The chapter from the rows of `metrics` with a bound and those of `planted_and_found`; none for real plates."""
    rows = metrics.filter(pl.col("holds").is_not_null(), pl.col("metric").is_in(list(CHECKS)))
    if not rows.height:
        return []
    above = rows["at_least"].is_not_null().to_list()
    bounds = rows.select(pl.coalesce("at_least", "at_most")).to_series().to_list()
    shown = [name.replace("_", " ") for name in rows["metric"]]
    panels, units = {}, {}
    for check, (title, planted, found) in PANELS.items():
        unit = points.filter(pl.col("check") == check)
        if unit.height:
            panels[title] = (unit["planted"].to_list(), unit["found"].to_list())
            units[title] = (planted, found)
    failed = rows.filter(~pl.col("holds"))["metric"].to_list()
    verdict = f"{rows.height - len(failed)} of {rows.height} checks hold"
    verdict += f"; these do not: {', '.join(name.replace('_', ' ') for name in failed)}." if failed else "."
    caption = (
        "These plates were simulated, so the answer is known. Each check compares what the platform found "
        "with what was put into the images, and has a bound that was set before, with its reason, in docs/truth.md; "
        "its counterpart, where nothing is to be found, must miss the bound. "
        "Where a check does not hold, do not trust the chapters that rest on it."
    )
    texts = (
        "Each dot is the value of a check; it has to lie on the grey bar, which ends at the bound.",
        "What was planted (across) and what was found (up), a dot per site, treatment, well or stain. A rising cloud "
        "says that it is seen.",
    )
    pictures = [
        Picture(checks_chart(shown, rows["value"].to_list(), bounds, above), texts[0], "chart"),
        Picture(planted_panels(panels, units), texts[1], "chart", wide=True),
    ]
    against = metrics.filter(scope="counterpart").select("metric", counterpart="value").unique("metric")
    rows = rows.join(against, on="metric", how="left", maintain_order="left")
    shown_columns = ["metric", "value", "chance", "counterpart", "at_least", "at_most", "holds", "n"]
    table = rows.select(shown_columns).with_columns(
        asks=pl.col("metric").replace_strict({name: check.asks for name, check in CHECKS.items()})
    )
    return [Section("Does it see what is there?", caption, pictures, [frame_table(table, "Every check")], verdict)]
