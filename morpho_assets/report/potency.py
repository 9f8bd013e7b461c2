"""The chapter "At which dose": dose-response curves of what acts, with half doses and benchmark doses."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from morpho_assets.profiles.study import SHUFFLED
from morpho_assets.report.figures import DoseCurve, dose_curves
from morpho_assets.report.names import Treatment
from morpho_assets.report.page import Picture, Section, frame_table, number

MOST_CURVES = 12  # that are drawn; all are in the table
_HEADS = {
    "treatment": "compound", "ec50": "EC50", "ec50_low": "from", "ec50_high": "to", "benchmark_dose": "benchmark dose",
    "benchmark_dose_low": "from ", "benchmark_dose_high": "to ", "highest_response": "at the highest dose (SD)",
}  # fmt: skip
_SHOWN = (
    "treatment", "doses", "wells", "ec50", "ec50_low", "ec50_high", "benchmark_dose", "benchmark_dose_low",
    "benchmark_dose_high", "highest_response", "q_value", "flags",
)  # fmt: skip


def potency_sections(
    metrics: pl.DataFrame, potencies: pl.DataFrame, responses: pl.DataFrame, variant: str,
    named: Mapping[str, Treatment] | None = None,
) -> list[Section]:  # fmt: skip
    """A chapter per potency evaluator, of one variant; none where no compound has doses. `named` says what each is
    called."""
    names = {each.compound: each.label.rpartition(", ")[0] or each.label for each in (named or {}).values()}
    sections = []
    for (evaluator,), rows in potencies.filter(variant=variant).group_by("evaluator", maintain_order=True):
        asked = rows.drop_nulls("active")
        if not asked.height:
            continue
        rows = rows.sort("potent", "benchmark_dose", "q_value", "treatment", descending=[True, *[False] * 3],
                         nulls_last=True)  # fmt: skip
        points = responses.filter(variant=variant, evaluator=evaluator)
        curves = [
            _curve(row, points, names) for row in rows.drop_nulls("active").head(MOST_CURVES).iter_rows(named=True)
        ]
        chances = metrics.filter(pl.col("evaluator") == evaluator, pl.col("metric") == "fraction_potent")
        by_doses = _number(chances, variant, "chance")
        by_wells = _number(chances, f"{variant}, {SHUFFLED}", "value")
        answer = (
            f"{int(asked['potent'].sum())} of {asked.height} compounds with enough doses have a potency in the space "
            f"{variant}; with the doses of each compound shuffled {by_doses} have one, with treatments shuffled among "
            f"the wells {by_wells}."
        )
        caption = (
            "The response is how much farther a well is from the controls than they are "
            "from each other, in SD of the controls. The benchmark dose is where the curve passes the benchmark, the "
            "EC50 where it has half its plateau; both have an interval, which is open where the tested doses do not "
            "bound it. A flag says what speaks against a number: read it first."
        )
        text = (
            "Mean (dot) and range (line) of the wells at each dose, the fitted curve, and the benchmark dose with its "
            "interval (red). Grey points are of compounds that do not act."
        )
        shown = rows.select(_SHOWN)
        if names:
            shown = shown.with_columns(
                pl.col("treatment").map_elements(lambda key: names.get(key, key), pl.String).alias("treatment")
            )
        table = frame_table(shown, "Compounds with doses, the most potent first", _HEADS)
        picture = Picture(dose_curves(curves), text, "chart", wide=True)
        sections.append(Section(f"At which dose: {evaluator}", caption, [picture], [table], answer))
    return sections


def _curve(row: dict[str, object], points: pl.DataFrame, called: Mapping[str, str]) -> DoseCurve:
    mine = points.filter(treatment=row["treatment"]).sort("dose")
    doses, response, lowest, highest = (mine[name].to_list() for name in ("dose", "response", "lowest", "highest"))
    names = ("top", "slope", "ec50", "benchmark_dose", "benchmark_dose_low", "benchmark_dose_high")
    key = str(row["treatment"])
    return DoseCurve(called.get(key, key), doses, response, lowest, highest, bool(row["active"]),
                     *(row[name] for name in names))  # type: ignore[arg-type]  # fmt: skip


def _number(rows: pl.DataFrame, variant: str, column: str) -> str:
    found = rows.filter(variant=variant)[column].drop_nulls()
    return f"{number(100 * float(found[0]))} %" if found.len() else "nothing"
