"""The report of a study, from what the lake holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from morpho_assets import __version__
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.consistency import ConsistencyConfig
from morpho_assets.evaluate.evaluators import evaluator_config
from morpho_assets.evaluate.hierarchy import HierarchyConfig
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.evaluate.study import PLATES
from morpho_assets.imaging.sites import SiteReader, plate_reader
from morpho_assets.lake.files import open_files, quoted
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Partition
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.learn.kinds import UNTRAINED
from morpho_assets.profiles.consensus import ConsensusConfig, consensus
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.normalize import NORMALIZED_ON
from morpho_assets.profiles.space import space_levels
from morpho_assets.profiles.study import (
    SHUFFLED,
    as_wells,
    read_space,
    space_features,
    space_steps,
    variant_name,
)
from morpho_assets.profiles.tuning import reported
from morpho_assets.report.activity import activity_sections
from morpho_assets.report.compared import compared_sections
from morpho_assets.report.corrections import correction_sections
from morpho_assets.report.figures import correlation_heatmap, loss_curve, map_versus_p, metric_bars, scatter
from morpho_assets.report.page import KeyFigure, Made, Picture, Query, Section, frame_table, number, render_report
from morpho_assets.report.phenotypes import phenotype_sections
from morpho_assets.report.plate import cells_grid, cells_heatmap, cells_per_well, typical_site
from morpho_assets.report.potency import potency_sections
from morpho_assets.report.spaces import made_section, processed_section, tree_sections
from morpho_assets.report.truth import truth_sections

if TYPE_CHECKING:
    from morpho_assets.studies.model import Study

PAGE = "report.html"
LEARNED = "mAP"
"""The score by which the report says what learning added."""
MOST_PLATES = 12  # whose heat maps are shown; all are in the table


def report_study(work: Work) -> None:
    """Write the report of a study: into the lake, and as `<reports>/<study>/report.html`, where people look for it.

    The page is written aside and moved into place.
    """
    study: Study = work.settings
    inputs = work.inputs
    readers = {plate: plate_reader(inputs, source.store(), plate) for plate, source in work.source.items()}
    steps, levels = space_steps(study.spaces, study.corrections), space_levels(study.spaces)
    results = _read(inputs, study, list(readers), main_variant(steps))
    finals = [variant_name(space, names[-1]) for space, names in steps.items()]
    sections = [
        *compared_sections(results.metrics, finals),
        _plates(inputs, readers, results),
        *truth_sections(results.metrics, results.points),
        *_treatments(results, study),
        *potency_sections(results.metrics, *_of_doses(inputs, study), results.main),
        *correction_sections(steps, results.treatments, results.metrics, inputs.read("correction_notes", study.name)),
        *_alike(inputs, study, results),
        *phenotype_sections(inputs, study, readers, results.metrics),
        *activity_sections(inputs, study),
        *_trees(inputs, study, results),
        made_section(
            inputs.read("space_steps", study.name), [name for name, level in levels.items() if level == "site"]
        ),
        _spaces(results),
        *processed_section(results.metrics),
        _maps(results),
        *_encoders(results),
    ]
    summary = _summary(results)
    made = inputs.commit("evaluation", Partition("study", study.name))
    queries = [
        Query("Every score, with its chance", f"FROM metrics WHERE study = '{study.name}' AND scope = 'overall'"),
        Query("Every treatment", f"FROM treatments WHERE study = '{study.name}' ORDER BY q_value, mAP DESC"),
        Query("What stands behind a well", "SELECT COLUMNS('Metadata_.*') FROM well_profiles LIMIT 20"),
    ]
    how = Made(__version__, made.content, list(readers), queries, {"seed": str(study.seed)})
    page = render_report(study.title, summary, sections, how, study.about).encode()
    work.write_file("reports", "report.html", page)
    open_files(work.options.reports, work.options.lake_options).write(f"{quoted(study.name)}/{PAGE}", page)
    work.sources = {PAGE: "there"}
    work.notes["kilobytes"] = len(page) // 1000


def main_variant(steps: Mapping[str, Sequence[str]]) -> str:
    """The variant whose hits are the study's: its first space after the last correction."""
    space, names = next(iter(steps.items()))
    return variant_name(space, names[-1])


@dataclass(frozen=True)
class _Results:
    """What the lake holds of a study; `main` is the variant whose hits are listed."""

    wells: pl.DataFrame
    metrics: pl.DataFrame
    treatments: pl.DataFrame
    projections: pl.DataFrame
    encoders: pl.DataFrame
    points: pl.DataFrame
    clusters: pl.DataFrame
    main: str


def _read(inputs: Snapshot, study: Study, plates: Sequence[str], main: str) -> _Results:
    wells = inputs.scan("normalized_profiles", plates).select("^Metadata_.*$").collect()
    metrics = inputs.read("metrics", study.name)
    names = wells.group_by("Metadata_Perturbation").agg(pl.first(name) for name in _NAMED if name in wells.columns)
    treatments = inputs.read("treatments", study.name)
    treatments = treatments.join(names, left_on="treatment", right_on="Metadata_Perturbation", how="left")
    return _Results(
        wells,
        metrics,
        treatments,
        inputs.read("projections", study.name),
        inputs.read("encoders", study.name) if study.encoders else table("encoders").empty(),
        inputs.read("planted_and_found", study.name),
        inputs.read("clusters", study.name),
        main,
    )


_NAMED = ("Metadata_pert_iname", "Metadata_moa", "Metadata_target")


def _of_doses(inputs: Snapshot, study: Study) -> tuple[pl.DataFrame, pl.DataFrame]:
    return inputs.read("potencies", study.name), inputs.read("dose_responses", study.name)


def _overall(results: _Results, metric: str, variant: str, evaluator: str | None = None) -> dict[str, float]:
    """The row of a metric over all treatments; of the first evaluator that has it, unless one is named."""
    rows = results.metrics.filter(
        pl.col("metric") == metric, pl.col("scope") == "overall", pl.col("variant") == variant
    )
    if evaluator is not None:
        rows = rows.filter(pl.col("evaluator") == evaluator)
    return rows.row(0, named=True) if rows.height else {}


def _summary(results: _Results) -> list[KeyFigure]:
    counts = results.wells["Metadata_Count_Cells"]
    figures = [
        KeyFigure("plates", number(results.wells["Metadata_Plate"].n_unique())),
        KeyFigure("wells", number(results.wells.height)),
    ]
    if counts.null_count() < len(counts):
        figures.append(KeyFigure("cells", number(int(counts.sum()))))
    for metric, label in (("mAP", "mAP"), ("fraction_retrieved", "treatments retrieved")):
        row = _overall(results, metric, results.main)
        null = _overall(results, metric, f"{results.main}, {SHUFFLED}")
        if row:
            chance = f"chance {number(row['chance'])}; shuffled {number(null.get('value'))}"
            figures.append(KeyFigure(f"{label}, {results.main}", number(row["value"]), chance))
    return figures


def _plates(inputs: Snapshot, readers: Mapping[str, SiteReader], results: _Results) -> Section:
    plates = list(readers)
    wells = inputs.scan("well_profiles", plates).select("^Metadata_.*$").collect()
    table = wells.group_by("Metadata_Plate", "Metadata_Batch", maintain_order=True).agg(
        pl.len().alias("wells"),
        (pl.col("Metadata_control_type") == "negcon").sum().alias("negative controls"),
        *(pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()) for name in _COUNTS),
    )
    if NORMALIZED_ON in results.wells.columns:
        reference = results.wells.group_by("Metadata_Plate").agg(pl.first(NORMALIZED_ON))
        table = table.join(reference, on="Metadata_Plate", how="left", maintain_order="left")
    counted = {plate: cells_per_well(inputs, plate) for plate in plates[:MOST_PLATES]}
    counted = {plate: cells for plate, cells in counted.items() if cells.height}
    pictures = [
        Picture(cells_heatmap(cells, plate), f"Cells in each imaged well of {plate}.")
        for plate, cells in counted.items()
    ]
    typical = typical_site(inputs, readers[plates[0]], plates[0])
    if typical:
        text = f"Nuclei and cells as they were found in {plates[0]}, {typical[0]}: the site with the median count."
        pictures.append(Picture(typical[1], text, "field", wide=True))
    caption = (
        "Counts first: a plate with an empty corner, a gradient or failed sites explains many a profile. "
        "Flagged sites are kept; table image_quality says why they are flagged. A stain that is brighter or dimmer on "
        "one plate than on the others changes every profile of that plate."
    )
    tables = [frame_table(table, "What stands behind the profiles", _COUNTS)]
    tables += [frame_table(cells_grid(cells), f"Cells per well of {plate}") for plate, cells in counted.items()]
    scores = results.metrics.filter(variant=PLATES)
    of_stains = pl.col("metric").str.starts_with("stain_")
    drift = scores.filter(of_stains).select("scope", "metric", "value", "p_value", "holds", "n")
    if drift.height:  # what fails comes first
        drift = drift.sort("holds", "p_value", nulls_last=True, maintain_order=True)
        tables.append(frame_table(drift, "Each stain of each plate against the other plates of its batch"))
    scores = scores.filter(~of_stains).select("evaluator", "scope", "metric", "value", "chance", "n")
    if scores.height:
        tables.append(frame_table(scores, "Scores of the plates themselves, beside what a trivial method gives"))
    return Section("Plates and cells", caption, pictures, tables)


_COUNTS = {
    "Metadata_Count_Cells": "cells",
    "Metadata_Count_Sites": "sites",
    "Metadata_Count_Failed_Sites": "failed sites",
    "Metadata_Count_Flagged_Sites": "flagged sites",
    "Metadata_Count_Implausible_Cells": "implausible cells",
}


def _treatments(results: _Results, study: Study) -> list[Section]:
    """A section per evaluator that scores treatments or labels, on the study's first space after its last step."""
    sections = []
    space = results.main
    main = results.treatments.filter(pl.col("variant") == space)
    for (evaluator,), rows in main.group_by("evaluator", maintain_order=True):
        rows = rows.sort("q_value", "mAP", descending=[False, True])
        labels = (
            rows.select(pl.coalesce(*(n for n in _NAMED[:1] if n in rows.columns), "treatment")).to_series().to_list()
        )
        settings = evaluator_config(study.evaluators[str(evaluator)])
        assert isinstance(settings, RetrievalConfig | ConsistencyConfig)
        what, title = _LABELS if isinstance(settings, ConsistencyConfig) else _TREATMENTS
        points = rows["mAP"].to_list(), rows["q_value"].to_list()
        picture = map_versus_p(*points, labels, f"{evaluator}, {space}", threshold=settings.threshold)
        shown = [n for n in _NAMED if n in rows.columns and rows[n].null_count() < rows.height]
        columns = ["treatment", *shown, "mAP", "chance", "normalised_AP", "p_value", "q_value", "n_profiles"]
        found, total = int(rows["retrieved"].sum()), rows.height
        null = _overall(results, "fraction_retrieved", f"{space}, {SHUFFLED}", str(evaluator)).get("value")
        shuffled = "nothing is left to ask" if null is None else f"{number(100 * null)} % are"
        caption = (
            f"{found} of {total} {what} are retrieved at a false discovery rate of {100 * settings.threshold:g} % in "
            f"the space {space}; with treatments shuffled among the wells, {shuffled}. Each member ranks the other "
            "members and its rivals by similarity; mAP is 1 when members always come first, and chance depends on how "
            "many of each there are."
        )
        text = (
            f"A dot is one of the {what}: further right, members find each other; above the line, more than by chance."
        )
        table = frame_table(rows.select(columns).rename({"treatment": what}), f"The {what}, the surest first")
        sections.append(Section(f"{title}: {evaluator}", caption, [Picture(picture, text, "chart")], [table]))
    return sections


_TREATMENTS = ("treatments", "Which treatments act")
_LABELS = ("targets or mechanisms", "Which active treatments of one kind look alike")


def _alike(inputs: Snapshot, study: Study, results: _Results) -> list[Section]:
    """Which of the retrieved treatments look alike, in the study's first space after its last step."""
    first = results.treatments.filter(pl.col("variant") == results.main).drop_nulls("retrieved")
    kinds = {name: settings["evaluator"] for name, settings in study.evaluators.items()}
    hits = first.filter(
        pl.col("retrieved"), pl.col("evaluator").replace_strict(kinds, default=None) == "retrieval"
    ).unique("treatment")
    space, steps = next(iter(space_steps(study.spaces, study.corrections).items()))
    wells = as_wells(read_space(inputs, study.name, space, steps[-1])).filter(
        pl.col("Metadata_Perturbation").is_in(hits["treatment"].to_list())
    )
    if wells["Metadata_Perturbation"].n_unique() < 2:
        return []
    features = space_features(wells)
    treatments = consensus(wells, ConsensusConfig(), features)
    names = treatments.select(pl.coalesce(*(n for n in _NAMED[:1] if n in treatments.columns), "Metadata_Perturbation"))
    matrix = to_matrix(treatments, features)
    [(_, alike)] = similarity_blocks(matrix, np.arange(len(matrix)), block_bytes=8 * len(matrix) ** 2)
    picture = correlation_heatmap(alike, names.to_series().to_list(), f"{results.main}: retrieved treatments", "cosine")
    text = "Cosine between the median profiles of retrieved treatments, similar ones side by side."
    caption = "Blocks are treatments that do the same to the cells; what they share may be a mechanism or only a count."
    return [Section("Which treatments look alike", caption, [Picture(picture, text, "chart")])]


def _trees(inputs: Snapshot, study: Study, results: _Results) -> list[Section]:
    """The trees of the study's first space after its last step."""
    models = {name: evaluator_config(settings) for name, settings in study.evaluators.items()}
    trees = {name: model for name, model in models.items() if isinstance(model, HierarchyConfig)}
    if not trees:
        return []
    space, steps = next(iter(space_steps(study.spaces, study.corrections).items()))
    wells = reported(as_wells(read_space(inputs, study.name, space, steps[-1])))
    return tree_sections(wells, space_features(wells), trees, results.metrics, results.clusters, results.main)


def _spaces(results: _Results) -> Section:
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
    return Section(
        "Feature spaces compared", caption, pictures, [frame_table(overall.select(columns), "Every overall score")]
    )


def _maps(results: _Results) -> Section:
    keys = ["Metadata_Plate", "Metadata_Well"]
    kind = results.wells.select(
        *keys, pl.coalesce("Metadata_control_type", *_moa(results.wells), "Metadata_pert_type").alias("group")
    )
    pictures = []
    for (space, step, method), rows in results.projections.join(kind, on=keys, how="left").group_by(
        "space", "step", "method", maintain_order=True
    ):
        drawn = _MAPS[str(method)]
        image = scatter(rows.select("x", "y").to_numpy(), rows["group"].to_list(), f"{space}, {step}: {drawn}")
        text = f"{drawn} of the wells in the space {space} ({step}). Controls are grey."
        pictures.append(Picture(image, text, "chart"))
    caption = "Neighbours on a map are alike; distances and empty spaces on it measure nothing."
    return Section("Maps", caption, pictures)


_MAPS = {"umap": "UMAP", "tsne": "t-SNE"}


def _moa(wells: pl.DataFrame) -> list[str]:
    return [name for name in ("Metadata_moa",) if name in wells.columns]


_UNITS = {"group": "fifth well, whole", "cell": "fifth cell, as there is one well only", "none": "none"}


def _encoders(results: _Results) -> list[Section]:
    if not results.encoders.height:
        return []
    pictures = [
        Picture(
            loss_curve(row["train_loss"], row["validation_loss"]),
            f"Loss of {row['encoder']}; held out to validate: each {_UNITS[row['split']]}.",
        )
        for row in results.encoders.iter_rows(named=True)
        if row["train_loss"]
    ]
    columns = [
        "encoder",
        "kind",
        "unit",
        "untrained",
        "fold",
        "agreement",
        "numbers",
        "cells",
        "best_epoch",
        "split",
        "licence",
        "sha256",
    ]
    table = frame_table(results.encoders.select(columns), "Encoders of the study")
    told = results.encoders.filter(pl.col("labels").list.len() > 0)["encoder"].to_list()
    caption = " ".join([*_added(results), *_told(told)])
    return [Section("Learned embeddings", caption, pictures, [table])]


def _added(results: _Results) -> list[str]:
    """A sentence for each space with an untrained twin: what learning added to the replicates' average precision."""
    sentences = []
    twins = pl.format("against {}" + UNTRAINED, "variant")
    rows = results.metrics.filter(pl.col("metric") == LEARNED, pl.col("scope") == twins)
    for row in rows.iter_rows(named=True):
        twin = row["scope"].removeprefix("against ")
        low, high = row["ci_low"], row["ci_high"]
        sure = low is not None and not low <= 0 <= high
        what = ("something" if row["value"] > 0 else "less than nothing") if sure else "nothing that is sure"
        interval = "" if low is None else f" [{number(low)}, {number(high)}]"
        sentences.append(
            f"Learning added {what} in the space {row['variant']} ({row['evaluator']}): {number(row['value'])}"
            f"{interval} in mean average precision over {row['n']} treatments, against the same network with drawn "
            f"weights ({twin}). What its encoder saw of the scored wells: {row['encoder_saw']}."
        )
    return sentences or ["No space of an encoder was compared with its untrained twin."]


def _told(encoders: Sequence[str]) -> list[str]:
    if not encoders:
        return ["No encoder was told a treatment."]
    return [f"Told treatments of wells that are scored, which flatters it: {', '.join(encoders)}."]
