"""The chapter "Activity": what each modality predicts of assays, what they add, and which compounds to test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.predict.activity.baselines import NUISANCES, SHUFFLED
from morpho_assets.predict.activity.rows import EVALUATOR
from morpho_assets.report.figures import metric_bars
from morpho_assets.report.page import Picture, Section, Table, frame_table
from morpho_assets.report.pictures import FAINT, INK, STYLE, chart_bytes
from morpho_assets.studies.model import Study

LISTED = 60  # rows of the list of compounds
BEST = 3  # untested compounds of each assay in it


def activity_sections(inputs: Snapshot, study: Study) -> list[Section]:
    """The chapter of a study with `activity`; none without."""
    if study.activity is None:
        return []
    name = study.name
    metrics = inputs.read("metrics", name).filter(pl.col("evaluator") == EVALUATOR)
    scores = inputs.read("assay_scores", name)
    overlaps = inputs.read("assay_overlaps", name)
    first = scores["split"][0]
    main = scores.filter(pl.col("split") == first)
    threshold = study.activity.thresholds[-1]
    shown = overlaps.filter(pl.col("split") == first, pl.col("threshold") == threshold)
    pictures = [
        _bars(metrics.filter(pl.col("scope") == first), f"assays_above_{threshold:g}"),
        *([_overlap_picture(shown, threshold)] if shown.height > 1 else []),
        _scatter(main, _best(main)),
    ]
    tables = [
        _compared(metrics), _flagged(main, _best(main)), _listed(inputs, name),
        frame_table(overlaps, "Who adds what: assays above a threshold"), _unmatched(inputs, name),
    ]  # fmt: skip
    caption = _caption(inputs, name, main)
    return [Section("Activity in assays", caption, pictures, tables, _answer(main, shown, threshold))]


def overlap_chart(sets: Sequence[str], alone: Sequence[int], title: str) -> bytes:
    """A bar for each set of modalities (joined by ` + `): assays that these predict well and no other; under it dots
    that say which they are."""
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for chosen in sets for name in chosen.split(" + ")))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 2.6 + 0.25 * len(names)), layout="constrained", facecolor="white")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.35 * len(names)])
        place = np.arange(len(sets))
        above.bar(place, alone, width=0.6, color="#56B4E9")
        for at, value in zip(place, alone, strict=True):
            above.annotate(str(value), (at, value), (0, 3), textcoords="offset points", ha="center", fontsize=8.5)
        above.set(ylabel="assays", title=title)
        above.margins(y=0.15)
        for row, name in enumerate(names):
            there = np.array([name in chosen.split(" + ") for chosen in sets])
            below.scatter(place, np.full(len(sets), row), s=36, color=[INK if each else "#e4e7eb" for each in there])
        for at, chosen in enumerate(sets):
            rows = [names.index(name) for name in chosen.split(" + ")]
            below.plot([at, at], [min(rows), max(rows)], color=INK, linewidth=1.6)
        below.set_yticks(range(len(names)), names)
        below.set_ylim(len(names) - 0.5, -0.5)
        below.set_xticks([])
        for side in below.spines.values():
            side.set_visible(False)
        below.tick_params(length=0)
        return chart_bytes(figure)


def auroc_scatter(
    one: Sequence[float], other: Sequence[float], flagged: Sequence[bool], names: tuple[str, str]
) -> bytes:
    """A dot for each assay: the AUROC of two predictors; red where a nuisance reaches the score."""
    import matplotlib
    from matplotlib.figure import Figure

    x, y, red = np.asarray(one, float), np.asarray(other, float), np.asarray(flagged, bool)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 4.2), layout="constrained", facecolor="white")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        for half in (axes.axhline, axes.axvline):
            half(0.5, color=FAINT, linewidth=0.8, linestyle=":")
        axes.scatter(x[~red], y[~red], s=16, color="#0072B2", label="assay")
        axes.scatter(x[red], y[red], s=22, color="#D55E00", marker="D", label="a nuisance alone reaches it")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel=f"AUROC of {names[0]}", ylabel=f"AUROC of {names[1]}")
        axes.legend(loc="lower right")
        return chart_bytes(figure)


def _best(main: pl.DataFrame) -> str:
    """The predictor whose compounds are listed: the first fusion of all modalities, else the only modality."""
    modalities = main.filter(pl.col("kind") == "modality")["predictor"].unique(maintain_order=True).to_list()
    late = main.filter(pl.col("kind") == "late", pl.col("of") == " + ".join(modalities))["predictor"]
    return str(late[0]) if len(late) else str(modalities[0])


def _answer(main: pl.DataFrame, shown: pl.DataFrame, threshold: float) -> str:
    best, above = _best(main), main.filter(pl.col("auroc") > threshold)
    modalities = main.filter(pl.col("kind") == "modality")["predictor"].unique(maintain_order=True).to_list()
    counts = {name: above.filter(pl.col("predictor") == name).height for name in (*modalities, best)}
    alone = ", ".join(f"{name} {counts[name]}" for name in modalities)
    together = f"; any of them {int(shown['union'].max() or 0)}; {best} {counts[best]}" if shown.height > 1 else ""  # type: ignore[arg-type]
    return (
        f"Of {main['assay'].n_unique()} assays, above an AUROC of {threshold:g} on compounds of other folds "
        f"({main['split'][0]}): {alone}{together}."
    )


def _caption(inputs: Snapshot, study: str, main: pl.DataFrame) -> str:
    flagged = main.filter(pl.col("predictor") == _best(main))["reached_by"].count()
    matches = inputs.read("assay_matches", study)
    few = inputs.read("assays", study).filter(pl.col("note").is_not_null())["assay"].n_unique()
    wrong = inputs.read("assay_compounds", study)["problem"].drop_nulls().value_counts(sort=True)
    problems = ", ".join(f"{count} {problem}" for problem, count in wrong.iter_rows()) or "none"
    return (
        f"AUROCs are medians over folds. In {flagged} assays a nuisance alone (cell count, plate position or batch) "
        "reaches the score of all modalities together: there it need not be biology. Assays with too few active or "
        f"inactive compounds, which are left out: {few}. Names of compounds in the assays that mean no compound of "
        f"the study: {matches['compound'].null_count()} of {matches.height}. Structures with a problem: {problems}. "
        "Chances are calibrated on other folds; a compound unlike anything tested has a low similarity, and its chance "
        "says little."
    )


def _bars(metrics: pl.DataFrame, metric: str) -> Picture:
    rows = metrics.filter(pl.col("metric") == metric)
    labels, values, chance, low, high = (
        rows[name].to_list() for name in ("variant", "value", "chance", "ci_low", "ci_high")
    )
    image = metric_bars(labels, values, chance, low, high, metric.replace("_", " "), "assays")
    return Picture(image, "Assays above the threshold by each modality, way to join them and baseline; the red tick is "
                   "the same with shuffled labels. Bars: 95 % over compounds.", "chart")  # fmt: skip


def _overlap_picture(shown: pl.DataFrame, threshold: float) -> Picture:
    image = overlap_chart(shown["predictors"].to_list(), shown["alone"].to_list(), f"assays above {threshold:g}")
    return Picture(image, "Who adds what: assays that the marked modalities predict, and no other does.", "chart")


def _scatter(main: pl.DataFrame, best: str) -> Picture:
    singles = (
        main.filter(pl.col("kind") == "modality").group_by("assay", maintain_order=True).agg(pl.col("auroc").max())
    )
    both = main.filter(pl.col("predictor") == best).join(singles, on="assay", suffix="_alone", maintain_order="left")
    image = auroc_scatter(
        both["auroc_alone"].fill_null(np.nan).to_list(), both["auroc"].fill_null(np.nan).to_list(),
        both["reached_by"].is_not_null().to_list(), ("the best single modality", best),
    )  # fmt: skip
    return Picture(image, "Each assay: the modalities together against the best of them, which is chosen afterwards "
                   "and so looks better than it is.", "chart")  # fmt: skip


def _compared(metrics: pl.DataFrame) -> Table:
    columns = ["variant", "scope", "metric", "value", "chance", "ci_low", "ci_high", "n", "note"]
    heads = {"variant": "predictor", "scope": "split", "ci_low": "95 % from", "ci_high": "to", "n": "assays"}
    caption = f"Scores of predictors; `against` is the paired mean difference. Chance: {SHUFFLED}"
    return frame_table(metrics.select(columns), caption, heads)


def _flagged(main: pl.DataFrame, best: str) -> Table:
    nuisances = main.filter(pl.col("predictor").is_in(NUISANCES)).pivot("predictor", index="assay", values="auroc")
    rows = main.filter(pl.col("predictor") == best).select(
        "assay", "actives", "tested", "auroc", "ci_low", "ci_high", "average_precision", "chance", "enrichment",
        "dropped", "reached_by",
    ).join(nuisances, on="assay", how="left", maintain_order="left")  # fmt: skip
    heads = {"auroc": "AUROC", "ci_low": "95 % from", "ci_high": "to", "chance": "share active", "dropped":
             "folds of one class", "reached_by": "reached alone by"}  # fmt: skip
    return frame_table(rows.sort("auroc", descending=True, nulls_last=True), f"Assays by {best}", heads)


def _listed(inputs: Snapshot, study: str) -> Table:
    rows = inputs.scan("assay_predictions", [study]).filter(pl.col("rank") <= BEST).collect()
    names = inputs.read("assay_compounds", study).select("compound", "name")
    rows = rows.join(names, on="compound", how="left").sort("probability", descending=True, nulls_last=True)
    rows = rows.join(names.rename({"name": "resembles"}), left_on="similar_to", right_on="compound", how="left")
    columns = ["assay", "rank", "compound", "name", "probability", "p_active", "p_inactive", "similarity", "resembles"]
    caption = f"Untested compounds: the {BEST} most probable of each assay; all are in table assay_predictions"
    return frame_table(rows.select(columns), caption, {}, LISTED)


def _unmatched(inputs: Snapshot, study: str) -> Table:
    rows = inputs.read("assay_matches", study).filter(pl.col("note").is_not_null())
    return frame_table(rows.select("given", "compound", "matched_by", "note", "outcomes"),
                       "Names in the assays that mean no compound, or several")  # fmt: skip
