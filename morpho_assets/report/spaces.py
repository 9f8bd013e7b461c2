"""Chapters on feature spaces: how each was made, what the common post-processing changes, and trees of treatments."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from morpho_assets.evaluate.hierarchy import HierarchyConfig, distances_of, tree_of
from morpho_assets.evaluate.inputs import profile_matrix, treatment_profiles
from morpho_assets.evaluate.study import PROCESSED
from morpho_assets.profiles.rows import rows_where
from morpho_assets.report.figures import similarity_tree
from morpho_assets.report.page import Picture, Section, frame_table, number

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
    return Section("How the spaces were made", caption, [], [table])


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
        "controls: which space comes first may depend on it, so a space is better where it is better both ways. "
        + " ".join(_ranking(both))
    )
    heads = {"gain": "change", "gain_low": "from", "gain_high": "to"}
    table = frame_table(shown, "With and without it; changes are paired by treatment, with 95 % intervals", heads)
    return [Section("With and without the common post-processing", caption, [], [table])]


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
                    [frame_table(shown, "Treatments along the leaves, with their clusters")])
        )  # fmt: skip
    return sections


def _labels(wells: pl.DataFrame, config: HierarchyConfig) -> pl.DataFrame:
    """What the clusters are compared with, by treatment."""
    keys = pl.concat_str(config.consensus.by, separator=" | ").alias("treatment")
    named = [config.label] if config.label and config.label in wells.columns else []
    return wells.select(keys, *named).group_by("treatment").agg(pl.col(named).drop_nulls().first())
