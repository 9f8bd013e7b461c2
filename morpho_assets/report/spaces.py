"""Chapters on feature spaces: how each was made, what the common post-processing changes, and trees of treatments."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.evaluate.hierarchy import HierarchyConfig, distances_of, tree_of
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.study import PROCESSED
from morpho_assets.profiles.rows import rows_where
from morpho_assets.report.figures import metric_bars, similarity_tree
from morpho_assets.report.page import Picture, Section, frame_table, number
from morpho_assets.report.results import Results, of_spaces

RANKED = ("mAP", "normalised_AP")
"""Metrics by which spaces are ranked before and after the common post-processing."""


def made_section(steps: pl.DataFrame, of_sites: Sequence[str]) -> Section:
    """How each space was made, from `space_steps`; `of_sites` are the spaces whose rows are images."""
    caption = "Each space is a list of steps: what its rows are at each, and on which of them the step was fitted."
    if of_sites:
        caption += (
            f" Images, not replicates: the rows of {', '.join(of_sites)} are single images. Images of one well are no "
            "replicates, so partners are always of other wells, no p-value is given, and what cannot keep the images "
            "of a well apart sees each well's median."
        )
    table = frame_table(steps.drop("study"), "The steps of every space")
    spaces = steps["space"].n_unique()
    fitted = steps.filter(pl.col("fitted_on").is_not_null())
    answer = (
        f"{spaces} spaces were made in {steps.height} steps; {fitted.height} of these steps were fitted on some rows."
    )
    return Section("How the spaces were made", caption, [], [table], answer)


def processed_section(metrics: pl.DataFrame) -> list[Section]:
    """Every overall score with and without the common post-processing; none where no space went through it."""
    overall = metrics.filter(scope="overall").select("evaluator", "metric", "variant", "value", "chance", "n")
    suffix = f", {PROCESSED}"
    after = overall.filter(pl.col("variant").str.ends_with(suffix))
    after = after.with_columns(pl.col("variant").str.strip_suffix(suffix))
    change = metrics.filter(pl.col("scope").str.starts_with("against "), pl.col("variant").str.ends_with(suffix))
    change = change.select(
        "evaluator", "metric", pl.col("scope").str.strip_prefix("against ").alias("first"),
        pl.col("variant").str.strip_suffix(suffix), gain="value", gain_low="ci_low", gain_high="ci_high",
    )  # fmt: skip
    keys = ["evaluator", "metric", "variant"]
    firsts = change.select("variant", "first").unique()
    after = after.join(firsts, on="variant", how="left").with_columns(pl.col("first").fill_null(pl.col("variant")))
    both = overall.join(
        after.rename({"variant": "space", "first": "variant"}), on=keys, suffix=" after", maintain_order="left"
    )
    if not both.height:
        return []
    both = both.join(
        change.drop("first").rename({"variant": "space"}), on=["evaluator", "metric", "space"], how="left",
        maintain_order="left",
    )  # fmt: skip
    shown = both.select(
        "space",
        "evaluator",
        "metric",
        "value",
        "chance",
        "value after",
        "chance after",
        "gain",
        "gain_low",
        "gain_high",
    )
    caption = (
        "Each space as it is, and with every plate centred and scaled, 64 principal components and the MAD of the "
        "controls: which space comes first may depend on it, so a space is better where it is better both ways."
    )
    ranking = _ranking(both)
    if len(ranking) > 1:
        caption += " " + " ".join(ranking[1:])
    heads = {"gain": "change", "gain_low": "from", "gain_high": "to"}
    table = frame_table(shown, "With and without it; changes are paired by treatment, with 95 % intervals", heads)
    answer = ranking[0] if ranking else (
        f"The post-processing changes the scores of {both['space'].n_unique()} spaces; which space comes first was not "
        "asked of two of them."
    )  # fmt: skip
    return [Section("With and without the common post-processing", caption, [], [table], answer)]


def _ranking(both: pl.DataFrame) -> list[str]:
    """A sentence per evaluator on which space is first without it and with it."""
    sentences = []
    ranked = both.filter(pl.col("metric").is_in(RANKED)).drop_nulls(["value", "value after"])
    for (evaluator,), rows in ranked.filter(metric="normalised_AP").group_by("evaluator", maintain_order=True):
        if rows.height > 1:
            first, then = (
                rows.sort(name, descending=True, maintain_order=True)["space"][0] for name in ("value", "value after")
            )
            same = "without it and with it" if first == then else f"without it, {then} with it"
            sentences.append(f"By {evaluator}, {first} is first {same}.")
    return sentences


def tree_sections(
    wells: pl.DataFrame, features: Sequence[str], settings: dict[str, HierarchyConfig], metrics: pl.DataFrame,
    clusters: pl.DataFrame, variant: str,
) -> list[Section]:  # fmt: skip
    """A chapter per evaluator of hierarchical clustering: the tree of the treatments of `wells`, which are those of the
    `variant`, the clusters that were cut, and how far to believe them."""
    sections = []
    for name, config in settings.items():
        table = clusters.filter(evaluator=name, variant=variant)
        if not table.height:
            continue
        chosen = wells.filter(rows_where(wells, config.among))
        treatments = treatment_profiles(chosen, features, config.consensus, [])
        distances = distances_of(profile_matrix(treatments, features, "hierarchy"), config.similarity)
        tree = tree_of(distances, config)
        names = treatments.select(pl.concat_str(config.consensus.by, separator=" | ")).to_series().to_list()
        picture = similarity_tree(
            1 - distances, tree.merges, tree.order.tolist(), names, f"{name}, {variant}", config.similarity
        )
        scores = {
            row["metric"]: row for row in metrics.filter(evaluator=name, scope="overall", variant=variant).to_dicts()
        }
        told = scores["cophenetic"]
        answer = (
            f"{table['cluster'].n_unique()} clusters of {table.height} treatments"
            + (f", which agree with {config.label} by an adjusted Rand index of "
               f"{number(scores['adjusted_rand']['value'])} where chance gives "
               f"{number(scores['adjusted_rand']['chance'])}." if "adjusted_rand" in scores else ".")
        )  # fmt: skip
        caption = (
            "A tree can be drawn of anything. This one tells the matrix with a correlation of "
            f"{number(told['value'])}; one of the same values in disorder does with {number(told['chance'])}."
        )
        agreement = scores.get("adjusted_rand")
        if agreement and agreement["value"] is not None:
            caption += (
                f" Its {number(scores['clusters']['value'])} clusters agree with {config.label} by an adjusted Rand "
                f"index of {number(agreement['value'])} (chance {number(agreement['chance'])}, p "
                f"{number(agreement['p_value'])})."
            )
        text = f"{config.similarity} of the treatments in the order of their tree; joined lower down is more alike."
        shown = table.select("place", "cluster", "treatment").sort("place")
        shown = shown.join(_labels(wells, config), on="treatment", how="left", maintain_order="left")
        sections.append(
            Section(f"Which treatments belong together: {name}", caption, [Picture(picture, text, "chart", wide=True)],
                    [frame_table(shown, "Treatments along the leaves, with their clusters")], answer)
        )  # fmt: skip
    return sections


def _labels(wells: pl.DataFrame, config: HierarchyConfig) -> pl.DataFrame:
    """What the clusters are compared with, by treatment."""
    keys = pl.concat_str(config.consensus.by, separator=" | ").alias("treatment")
    named = [config.label] if config.label and config.label in wells.columns else []
    return wells.select(keys, *named).group_by("treatment").agg(pl.col(named).drop_nulls().first())


def compared_spaces(results: Results) -> Section:
    """Every overall score of every space, beside chance and shuffled treatments."""
    pictures = []
    overall = results.metrics.filter(pl.col("scope") == "overall")
    for (evaluator, metric), rows in overall.group_by("evaluator", "metric", maintain_order=True):
        labels, values, chance, low, high = (
            rows[name].to_list() for name in ("variant", "value", "chance", "ci_low", "ci_high")
        )
        image = metric_bars(labels, values, chance, low, high, f"{metric} ({evaluator})", str(metric))
        text = (
            f"{metric} of {evaluator} in every space, beside it with shuffled treatments. Bars: 95 % over treatments."
        )
        pictures.append(Picture(image, text, "chart"))
    columns = ["variant", "evaluator", "metric", "value", "chance", "ci_low", "ci_high", "p_value", "n"]
    columns += ["note"] if overall["note"].count() else []
    caption = (
        "The same question asked in every feature space. A space is worth its work only as far as it beats the cell "
        "count alone, an untrained network, and shuffled treatments: all stand beside it."
    )
    tables = [frame_table(overall.select(columns), "Every overall score")]
    return Section("Feature spaces compared", caption, pictures, tables, _best(results))


def _best(results: Results) -> str:
    """Which space retrieves best, and whether the others can be told from it; of less than two, that there are."""
    rows = of_spaces(results.metrics).filter(
        pl.col("metric") == "mAP", pl.col("scope") == "overall", pl.col("variant").is_in(results.finals)
    ).sort("value", descending=True, nulls_last=True, maintain_order=True)  # fmt: skip
    if rows.height < 2:
        return f"There is nothing to compare: {rows.height or 'no'} space was asked for replicates."
    evaluator = rows["evaluator"][0]
    rows = rows.filter(evaluator=evaluator)
    first = rows.row(0, named=True)
    paired = results.metrics.filter(
        pl.col("metric") == "mAP", pl.col("evaluator") == evaluator, pl.col("ci_low").is_not_null(),
    )  # fmt: skip
    above: list[str] = []
    open_: list[str] = []
    for name in rows["variant"][1:]:
        ahead = paired.filter(variant=first["variant"], scope=f"against {name}")["ci_low"].to_list()
        behind = paired.filter(variant=name, scope=f"against {first['variant']}")["ci_high"].to_list()
        if ahead or behind:
            (above if any(low > 0 for low in ahead) or any(high < 0 for high in behind) else open_).append(name)
    said = [f"better than {', '.join(above)}"] * bool(above) + [f"not to be told from {', '.join(open_)}"] * bool(open_)
    return (
        f"{first['variant']} finds replicates best: mAP {number(first['value'])} where chance gives "
        f"{number(first['chance'])}" + (f"; by paired intervals it is {' and '.join(said)}" if said else "") + "."
    )
