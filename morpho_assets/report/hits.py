"""The chapters on treatments: which act, by each evaluator that scores them, and which look alike."""

from __future__ import annotations

import numpy as np
import polars as pl

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.consistency import ConsistencyConfig
from morpho_assets.evaluate.evaluators import evaluator_config
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.space import CellCountSpace
from morpho_assets.profiles.study import space_features
from morpho_assets.report.figures import correlation_heatmap, map_versus_p
from morpho_assets.report.names import labels, with_labels
from morpho_assets.report.page import Picture, Section, frame_table, number
from morpho_assets.report.results import Results, shuffled

MOST_ALIKE = 200  # treatments of a heat map; more cannot be told apart
_ANNOTATION = ("Metadata_moa", "Metadata_target")
_TREATMENTS = ("treatments", "Which treatments act")
_LABELS = ("targets or mechanisms", "Which active treatments of one kind look alike")


def hit_sections(results: Results) -> list[Section]:
    """A chapter per evaluator that scores treatments or labels, on the study's first space after its last step."""
    main = results.treatments.filter(pl.col("variant") == results.main)
    return [
        _section(results, str(evaluator), rows)
        for (evaluator,), rows in main.group_by("evaluator", maintain_order=True)
    ]


def _section(results: Results, evaluator: str, rows: pl.DataFrame) -> Section:
    settings = evaluator_config(results.study.evaluators[evaluator])
    assert isinstance(settings, RetrievalConfig | ConsistencyConfig)
    what, title = _LABELS if isinstance(settings, ConsistencyConfig) else _TREATMENTS
    rows = rows.sort("q_value", "mAP", descending=[False, True])
    names = labels(results.named, rows["treatment"].to_list())
    points = rows["mAP"].to_list(), rows["q_value"].to_list()
    picture = map_versus_p(*points, names, f"{evaluator}, {results.main}", threshold=settings.threshold)
    noted = pl.DataFrame(
        [{"treatment": each.key, **{name: each.facts.get(name[9:]) for name in _ANNOTATION}}
         for each in results.named.values()],
        schema={"treatment": pl.String, **dict.fromkeys(_ANNOTATION, pl.String)},
    )  # fmt: skip
    rows = rows.join(noted, on="treatment", how="left", maintain_order="left")
    shown = [name for name in _ANNOTATION if rows[name].null_count() < rows.height]
    columns = ["treatment", *shown, "mAP", "chance", "normalised_AP", "p_value", "q_value", "retrieved", "n_profiles"]
    caption = (
        f"At a false discovery rate of {100 * settings.threshold:g} %. Each member ranks the other members and its "
        "rivals by similarity; mAP is 1 when members always come first, and chance depends on how many of each there "
        "are. A name leads to its cells."
    )
    text = f"A dot is one of the {what}: further right, members find each other; above the line, more than by chance."
    table = with_labels(rows.select(columns), results.named)
    table = table.rename({"treatment": "id" if "name" in table.columns else what})
    tables = [frame_table(table, f"The {what}, the surest first", {"name": "treatment"})]
    answer = _answer(results, evaluator, what, rows)
    return Section(f"{title}: {evaluator}", caption, [Picture(picture, text, "chart")], tables, answer)


def _answer(results: Results, evaluator: str, what: str, rows: pl.DataFrame) -> str:
    """How many act; what shuffled treatments give; how many of them counting cells finds."""
    hits = set(rows.filter("retrieved")["treatment"])
    verb = "act" if what == "treatments" else "look alike"
    null = results.overall("fraction_retrieved", shuffled(results.main), evaluator).get("value")
    by_chance = "" if null is None else f"; with treatments shuffled among the wells {number(100 * null)} % do"
    counting = [name for name, space in results.study.spaces.items() if isinstance(space, CellCountSpace)]
    asked = set(results.treatments["variant"]) & set(counting)
    counted = ""
    if asked and results.main not in asked:
        name = min(asked)
        alone = results.hits(name, evaluator)
        counted = f"; counting cells alone ({name}) finds {len(alone & hits)} of them"
        if alone - hits:
            counted += f" and {len(alone - hits)} others"
    return f"{len(hits)} of {rows.height} {what} {verb} in the space {results.main}{by_chance}{counted}."


def alike_sections(inputs: Snapshot, results: Results) -> list[Section]:
    """Which of the retrieved treatments look alike, by their consensus profiles in the study's first space."""
    space = results.main.partition(",")[0]
    hits = results.hits(results.main)
    profiles = inputs.scan("treatment_profiles", [results.study.name]).filter(pl.col("space") == space).collect()
    profiles = profiles.filter(pl.col("treatment").is_in(sorted(hits)))
    strongest = results.treatments.filter(pl.col("variant") == results.main).sort(
        "q_value", "mAP", descending=[False, True]
    )
    order = [key for key in dict.fromkeys(strongest["treatment"]) if key in set(profiles["treatment"])][:MOST_ALIKE]
    profiles = profiles.filter(pl.col("treatment").is_in(order))
    if profiles.height < 2:
        return []
    matrix = np.nan_to_num(to_matrix(profiles, space_features(profiles)))
    [(_, alike)] = similarity_blocks(matrix, np.arange(len(matrix)), block_bytes=8 * len(matrix) ** 2)
    names = labels(results.named, profiles["treatment"].to_list())
    picture = correlation_heatmap(alike, names, f"{results.main}: retrieved treatments", "cosine")
    off = np.where(np.eye(len(names), dtype=bool), -np.inf, np.nan_to_num(alike, nan=-np.inf))
    one, other = np.unravel_index(int(np.argmax(off)), off.shape)
    text = "Cosine between the consensus profiles of retrieved treatments, similar ones side by side."
    caption = "Blocks are treatments that do the same to the cells; what they share may be a mechanism or only a count."
    if len(hits) > MOST_ALIKE:
        caption += f" The {MOST_ALIKE} surest of {len(hits)} are shown; the page of each names its nearest."
    answer = (
        f"Of {len(hits)} treatments that act, {names[one]} and {names[other]} are most alike (cosine "
        f"{number(float(alike[one, other]))}; in the median two of them have "
        f"{number(float(np.median(alike[~np.eye(len(names), dtype=bool)])))})."
    )
    return [Section("Which treatments look alike", caption, [Picture(picture, text, "chart")], [], answer)]
