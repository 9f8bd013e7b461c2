"""The report of a study, from what the lake holds of it: the order of its chapters, and where the page goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from morpho_assets import __version__
from morpho_assets.evaluate.evaluators import evaluator_config
from morpho_assets.evaluate.hierarchy import HierarchyConfig
from morpho_assets.imaging.sites import SiteReader, plate_reader
from morpho_assets.lake.files import open_files, quoted
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Partition
from morpho_assets.lake.work import Work
from morpho_assets.profiles.space import space_levels
from morpho_assets.profiles.study import as_wells, read_space, space_features, space_steps, variant_name
from morpho_assets.profiles.tuning import reported
from morpho_assets.report.activity import activity_sections
from morpho_assets.report.board import board_sections
from morpho_assets.report.compared import compared_sections
from morpho_assets.report.corrections import correction_sections
from morpho_assets.report.encoders import encoder_sections, what_learning_added
from morpho_assets.report.hits import alike_sections, hit_sections
from morpho_assets.report.montage import readable
from morpho_assets.report.moved import moved
from morpho_assets.report.page import KeyFigure, Made, Query, Section, number, render_report
from morpho_assets.report.phenotypes import phenotype_sections
from morpho_assets.report.potency import potency_sections
from morpho_assets.report.results import Results, read_results, shuffled
from morpho_assets.report.spaces import compared_spaces, made_section, processed_section, tree_sections
from morpho_assets.report.told import told_sections
from morpho_assets.report.treatments import index_of, treatment_pages
from morpho_assets.report.truth import truth_sections
from morpho_assets.report.wells import ordered_wells, packed_wells

if TYPE_CHECKING:
    from morpho_assets.studies.model import Study

PAGE = "report.html"


def report_study(work: Work) -> None:
    """Write the report of a study: into the lake, and as `<reports>/<study>/report.html`, where people look for it.

    The page is written aside and moved into place.
    """
    study: Study = work.settings
    readers = {plate: plate_reader(work.inputs, source.store(), plate) for plate, source in work.source.items()}
    steps = space_steps(study.spaces, study.corrections)
    finals = [variant_name(space, names[-1]) for space, names in steps.items()]
    results = read_results(work.inputs, study, list(readers), main_variant(steps), finals)
    page = study_page(work.inputs, results, readers, work.options.left_out).encode()
    work.write_file("reports", PAGE, page)
    open_files(work.options.reports, work.options.lake_options).write(f"{quoted(study.name)}/{PAGE}", page)
    work.sources = {PAGE: "there"}
    work.notes["kilobytes"] = len(page) // 1000


def study_page(
    inputs: Snapshot, results: Results, readers: Mapping[str, SiteReader], left_out: Mapping[str, str] | None = None
) -> str:
    """The page of a study: its chapters in order, then the data of its explorers. Plates that are `left_out` of it are
    on the board with the reason."""
    study = results.study
    steps, levels = space_steps(study.spaces, study.corrections), space_levels(study.spaces)
    of_sites = [name for name, level in levels.items() if level == "site"]
    hits = hit_sections(results)
    sections = [
        *compared_sections(results.metrics, results.finals, _in_a_sentence(results, hits)),
        *hits,
        *potency_sections(
            results.metrics, inputs.read("potencies", study.name), inputs.read("dose_responses", study.name),
            results.main, results.named,
        ),
        *alike_sections(inputs, results),
        *phenotype_sections(inputs, study, readers, results.metrics),
        *activity_sections(inputs, study),
        *told_sections(inputs, study, results.metrics, results.main),
        *board_sections(inputs, readers, results, left_out or {}),
        *_maps(results),
        *truth_sections(results.metrics, results.points),
        *correction_sections(steps, results.treatments, results.metrics, inputs.read("correction_notes", study.name)),
        *_trees(inputs, study, results),
        made_section(inputs.read("space_steps", study.name), of_sites),
        compared_spaces(results),
        *processed_section(results.metrics),
        *encoder_sections(results),
    ]  # fmt: skip
    made = inputs.commit("evaluation", Partition("study", study.name))
    queries = [
        Query("Every score, with its chance", f"FROM metrics WHERE study = '{study.name}' AND scope = 'overall'"),
        Query("Every treatment", f"FROM treatments WHERE study = '{study.name}' ORDER BY q_value, mAP DESC"),
        Query("What stands behind a well", "SELECT COLUMNS('Metadata_.*') FROM well_profiles LIMIT 20"),
    ]
    how = Made(__version__, made.content, list(readers), queries, {"seed": str(study.seed)})
    return render_report(study.title, _summary(results), sections, how, study.about, _explored(inputs, results))


def main_variant(steps: Mapping[str, Sequence[str]]) -> str:
    """The variant whose hits are the study's: its first space after the last correction."""
    space, names = next(iter(steps.items()))
    return variant_name(space, names[-1])


def _explored(inputs: Snapshot, results: Results) -> dict[str, Any]:
    """The data of the page's search, treatments, plates and maps."""
    study = results.study.name
    wells = ordered_wells(results.wells)
    plates = wells["Metadata_Plate"].unique(maintain_order=True).to_list()
    far = moved(inputs, plates, list(results.named))
    numbers = {key: at for at, key in enumerate(results.named)}
    phenotypes = inputs.read("phenotype_profiles", study) if results.study.phenotypes else pl.DataFrame({"model": []})
    return {
        "index": index_of(results),
        "wells": packed_wells(inputs, wells, numbers, far, results.projections, phenotypes),
        **treatment_pages(inputs, results, wells, far, readable(inputs, study)),
    }


def _in_a_sentence(results: Results, hits: Sequence[Section]) -> str:
    """The study's answer: how many treatments act, what counting cells alone finds, what learning added."""
    parts = [section.answer.rstrip(".") for section in hits[:1]]
    parts += [learned] if (learned := what_learning_added(results)) else []
    return "; ".join(parts) + "." if parts else ""


def _summary(results: Results) -> list[KeyFigure]:
    counts = results.wells["Metadata_Count_Cells"]
    figures = [
        KeyFigure("plates", number(results.wells["Metadata_Plate"].n_unique())),
        KeyFigure("wells", number(results.wells.height)),
        KeyFigure("treatments", number(sum(not each.control for each in results.named.values()))),
    ]
    if counts.null_count() < len(counts):
        figures.append(KeyFigure("cells", number(int(counts.sum()))))
    for metric, label in (("mAP", "mAP"), ("fraction_retrieved", "treatments retrieved")):
        row = results.overall(metric, results.main)
        null = results.overall(metric, shuffled(results.main))
        if row:
            chance = f"chance {number(row['chance'])}; shuffled {number(null.get('value'))}"
            figures.append(KeyFigure(f"{label}, {results.main}", number(row["value"]), chance))
    return figures


def _trees(inputs: Snapshot, study: Study, results: Results) -> list[Section]:
    """The trees of the study's first space after its last step."""
    models = {name: evaluator_config(settings) for name, settings in study.evaluators.items()}
    trees = {name: model for name, model in models.items() if isinstance(model, HierarchyConfig)}
    if not trees:
        return []
    space, steps = next(iter(space_steps(study.spaces, study.corrections).items()))
    wells = reported(as_wells(read_space(inputs, study.name, space, steps[-1])))
    return tree_sections(wells, space_features(wells), trees, results.metrics, results.clusters, results.main)


def _maps(results: Results) -> list[Section]:
    if not results.projections.height:
        return []
    caption = (
        "Neighbours on a map are alike; distances and empty spaces on it measure nothing. Colour it by batch first: "
        "where batches lie apart, what follows may compare batches. Point at a well for its name, press it for more."
    )
    scores = results.metrics.filter(pl.col("scope") == "overall", pl.col("metric").str.contains("batch|silhouette"))
    row = next(scores.filter(variant=results.main).iter_rows(named=True), None)
    answer = "Whether batches lie apart was not asked: evaluator `batch` measures it." if row is None else (
        f"Batches in the space {results.main}: {row['metric'].replace('_', ' ')} {number(row['value'])} where chance "
        f"gives {number(row['chance'])}."
    )  # fmt: skip
    return [Section("Maps", caption, answer=answer, widget="maps")]
