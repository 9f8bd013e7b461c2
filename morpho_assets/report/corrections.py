"""The chapter "Before and after each correction": hits gained and lost at each step, and how a strength was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from morpho_assets.profiles.study import SHUFFLED, SWEEP, variant_name
from morpho_assets.report.figures import sweep_curve
from morpho_assets.report.page import Picture, Section, Table, frame_table


def correction_sections(
    steps: Mapping[str, Sequence[str]], treatments: pl.DataFrame, metrics: pl.DataFrame, notes: pl.DataFrame
) -> list[Section]:
    """The chapter of a study whose spaces go through `steps`, from its `treatments`, `metrics` and `correction_notes`;
    of the notes alone where no space is corrected, and none without any."""
    corrected = {space: names for space, names in steps.items() if len(names) > 1}
    told = notes.select("space", "step", "note")
    if not corrected:
        if not told.height:
            return []
        of = told["space"].unique(maintain_order=True).to_list()
        answer = f"No space is corrected. Notes on {', '.join(of)}: {told.height}."
        caption = "What fell back to something else, and what plates lack; it bears on every score of these spaces."
        return [Section("Notes on the spaces", caption, [], [frame_table(told, "Notes")], answer)]
    tables: list[Table] = []
    for (evaluator,), rows in treatments.group_by("evaluator", maintain_order=True):
        for space, names in corrected.items():
            stages = [rows.filter(pl.col("variant") == variant_name(space, step)) for step in names]
            if sum(stage.height for stage in stages):
                tables += _before_and_after(str(evaluator), space, names, stages, rows)
    pictures = []
    for (variant,), rows in metrics.filter(evaluator=SWEEP).group_by("variant", maintain_order=True):
        if not str(variant).endswith(SHUFFLED):
            shuffled = metrics.filter(evaluator=SWEEP, variant=f"{variant}, {SHUFFLED}")
            pictures.append(_curve(str(variant), rows, shuffled))
    if told.height:
        title = "What the corrections chose, where they fell back to something else, and what plates lack"
        tables.append(frame_table(told, title))
    caption = (
        "The same treatments before and after every step. A correction is worth its work if it gains more hits than it "
        "loses, and if shuffled treatments gain nothing by it: what these gain is made by the correction."
    )
    return [Section("Before and after each correction", caption, pictures, tables, _answer(corrected, treatments))]


def _answer(corrected: Mapping[str, Sequence[str]], treatments: pl.DataFrame) -> str:
    """Hits of each corrected space before its first and after its last step, and by shuffled treatments."""
    said = []
    for space, names in corrected.items():
        count = {
            name: treatments.filter(pl.col("variant") == name, pl.col("retrieved")).height
            for end in (names[0], names[-1])
            for name in (variant_name(space, end), f"{variant_name(space, end)}, {SHUFFLED}")
        }
        before, after = variant_name(space, names[0]), variant_name(space, names[-1])
        said.append(
            f"{space} has {count[before]} hits before and {count[after]} after (with treatments shuffled "
            f"{count[f'{before}, {SHUFFLED}']} and {count[f'{after}, {SHUFFLED}']})"
        )
    return "; ".join(said) + "."


def _before_and_after(
    evaluator: str, space: str, names: Sequence[str], stages: Sequence[pl.DataFrame], rows: pl.DataFrame
) -> list[Table]:
    """A table of the steps, and one of the treatments that were gained or lost at any of them."""
    hits = [set(stage.filter("retrieved")["treatment"]) for stage in stages]
    summary, changes = [], []
    for i, (step, stage) in enumerate(zip(names, stages, strict=True)):
        before = hits[i - 1] if i else hits[0]
        null = rows.filter(pl.col("variant") == f"{variant_name(space, step)}, {SHUFFLED}")
        summary.append({
            "step": step, "treatments": stage.height, "mAP": stage["mAP"].mean(), "median q": stage["q_value"].median(),
            "retrieved": len(hits[i]), "gained": len(hits[i] - before), "lost": len(before - hits[i]),
            "retrieved when shuffled": int(null["retrieved"].sum()),
        })  # fmt: skip
        if i:
            scores = stages[i - 1].select("treatment", "mAP", "q_value").join(
                stage.select("treatment", "mAP", "q_value"), on="treatment", how="full", suffix=" after", coalesce=True
            )  # fmt: skip
            for change, names_of in (("gained", hits[i] - before), ("lost", before - hits[i])):
                of = scores.filter(pl.col("treatment").is_in(sorted(names_of))).sort("treatment")
                changes.append(of.select(pl.lit(step).alias("step"), pl.lit(change).alias("change"), pl.all()))
    title = f"{evaluator} in the space {space}"
    tables = [frame_table(pl.DataFrame(summary), f"{title}: before and after each step")]
    changed = pl.concat(changes)
    if "Metadata_pert_iname" in rows.columns:
        names_known = rows.select("treatment", "Metadata_pert_iname").unique()
        changed = changed.join(names_known, on="treatment", how="left", maintain_order="left")
    heads = {"mAP": "mAP before", "q_value": "q before", "q_value after": "q after"}
    return [*tables, frame_table(changed, f"{title}: hits gained and lost", heads)] if changed.height else tables


def _curve(variant: str, rows: pl.DataFrame, shuffled: pl.DataFrame) -> Picture:
    tuning = rows.filter(metric="normalised_AP_tuning")
    setting = str(tuning["scope"][0]).partition("=")[0]
    lines = {
        f"{part}{name}": frame.filter(metric=f"normalised_AP_{part}")["value"].to_list()
        for name, frame in (("", rows), (", shuffled", shuffled))
        for part in ("tuning", "reported")
    }
    values = [float(scope.partition("=")[2]) for scope in tuning["scope"]]
    text = (
        f"How alike replicates are for every {setting} of {variant}: the best on the tuning treatments was taken, and "
        "the other treatments are reported. The grey lines are the same with treatments shuffled."
    )
    return Picture(sweep_curve(values, lines, setting), text, "chart")
