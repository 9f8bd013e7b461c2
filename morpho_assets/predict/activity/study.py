"""The activity stage of a study: from files and spaces to scores of assays and a list of compounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.store import Store
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.predict.activity.assays import match_compounds, matched_outcomes, read_assays
from morpho_assets.predict.activity.baselines import nuisances
from morpho_assets.predict.activity.compare import Question, answer
from morpho_assets.predict.activity.compounds import (
    compounds_of_wells,
    predictions_of_table,
    read_compounds,
    vectors_of_space,
    vectors_of_table,
)
from morpho_assets.predict.activity.config import (
    ActivityConfig,
    ModalityConfig,
    PredictionsModality,
    SpaceModality,
    StructureModality,
    TableModality,
)
from morpho_assets.predict.activity.modalities import Modality
from morpho_assets.predict.activity.neighbours import nearest_elsewhere
from morpho_assets.predict.activity.rows import frame_rows, metric_rows, overlap_rows, prediction_rows, score_rows
from morpho_assets.predict.activity.structures import descriptors, fingerprints, scaffold_groups, structures
from morpho_assets.profiles.study import as_wells, read_space, space_features, space_steps

Floats = NDArray[np.floating]
TABLES = (
    "assays", "assay_matches", "assay_compounds", "assay_scores", "assay_overlaps", "assay_predictions", "metrics",
)  # fmt: skip
FEW = "too few"


def predict_activity(work: Work) -> None:
    """Write `assays`, `assay_matches`, `assay_compounds`, `assay_scores`, `assay_overlaps`, `assay_predictions` and
    `metrics` of a study's activity; without one, none of them has a row. InputError names the key of the study."""
    config: ActivityConfig | None = work.settings.activity
    if config is None:
        for name in TABLES:
            work.write(name, table(name).empty())
        return
    try:
        _write(work, config)
    except InputError as error:
        where = f"activity: {error.file}" + (f", {error.where}" if error.where else "")
        raise InputError(f"study {work.key}", where, error.found, error.expected, error.do) from error


@dataclass(frozen=True)
class _Asked:
    """Compounds with their structures, outcomes matched to them, and the question that they make."""

    compounds: pl.DataFrame
    outcomes: pl.DataFrame
    matches: pl.DataFrame
    question: Question


def _write(work: Work, config: ActivityConfig) -> None:
    place = pl.lit(work.key).alias("study")
    asked = _asked(work, config)
    work.write("assays", asked.outcomes.with_columns(place))
    work.write("assay_matches", asked.matches.with_columns(place))
    scores, overlaps, metrics = [], [], []
    for number, split in enumerate(config.splits):
        found = answer(asked.question, config, split, whole=number == 0)
        scores.append(score_rows(asked.question, found, split.words))
        overlaps.append(overlap_rows(found, scores[-1], config.thresholds).with_columns(split=pl.lit(split.words)))
        metrics.append(metric_rows(asked.question, found, split.words, config.thresholds, config.seed))
        if number == 0:
            metrics.append(frame_rows(asked.question, found, asked.compounds, split.words))
            compounds = asked.compounds.with_columns(fold=pl.Series(found.fold))
            if asked.question.bits is not None:
                nearest = nearest_elsewhere(asked.question.bits, found.fold)
                compounds = compounds.with_columns(nearest=pl.Series(nearest))
            work.write("assay_compounds", compounds.with_columns(place))
            names = asked.compounds["compound"].to_list()
            rows = prediction_rows(asked.question, found, names)
            work.write_stream("assay_predictions", (frame.with_columns(place) for frame in rows))
        work.progress("splits", number + 1, len(config.splits))
    for name, parts in (("assay_scores", scores), ("assay_overlaps", overlaps), ("metrics", metrics)):
        work.write(name, pl.concat([part for part in parts if part.height], how="diagonal_relaxed").with_columns(place))


def _asked(work: Work, config: ActivityConfig) -> _Asked:
    compounds = _compounds(work, config)
    needed = any(isinstance(each, StructureModality) for each in config.modalities.values())
    needed = needed or any(split.by == "scaffold" for split in config.splits)
    if needed and not compounds["smiles"].count():
        raise InputError("compounds", "smiles", "no structure at all", "a SMILES for every compound",
                         "Add them, or split by something else than scaffolds and leave structure out.")  # fmt: skip
    known = structures(compounds["smiles"].to_list()) if needed else _no_structures(compounds)
    compounds = compounds.with_columns(known["standard_smiles"], known["scaffold"], known["problem"]).with_columns(
        inchikey=pl.coalesce("inchikey", known["inchikey"])
    )
    given = read_assays(_body(config.assays.file), config.assays)
    matches = match_compounds(given["given"], compounds, config.assays.by)
    outcomes = matched_outcomes(given, matches).with_columns(
        pl.col("active").sum().over("assay").alias("actives"), (~pl.col("active")).sum().over("assay").alias("others")
    )
    if not outcomes.height:
        raise InputError(config.assays.file, f"column {config.assays.compound}", f"{matches['given'][0]!r} and others",
                         "compounds of the study", "Name them by id, InChIKey or name as the study does; table "
                         "`compounds` may add these.")  # fmt: skip
    enough = pl.min_horizontal("actives", "others") >= config.least
    note = pl.when(~enough).then(
        pl.format("{}: {} active, {} inactive", pl.lit(FEW), pl.col("actives"), pl.col("others"))
    )
    outcomes = outcomes.with_columns(note=note)
    assays = outcomes.filter(enough)["assay"].unique(maintain_order=True).to_list()
    if not assays:
        raise InputError(config.assays.file, "", f"no assay with {config.least} active and {config.least} inactive "
                         "compounds", "one at least", "Lower `least`, or test more compounds.")  # fmt: skip
    matches = matches.join(given.group_by("given").agg(pl.len().cast(pl.Int32).alias("outcomes")), on="given",
                           how="left", maintain_order="left")  # fmt: skip
    question = _question(work, config, compounds, known, outcomes, assays)
    return _Asked(compounds, outcomes.drop("actives", "others"), matches, question)


def _question(
    work: Work, config: ActivityConfig, compounds: pl.DataFrame, known: pl.DataFrame, outcomes: pl.DataFrame,
    assays: list[str],
) -> Question:  # fmt: skip
    labels = np.full((compounds.height, len(assays)), np.nan)
    rows = {compound: number for number, compound in enumerate(compounds["compound"])}
    columns = {assay: number for number, assay in enumerate(assays)}
    for assay, compound, active in outcomes.select("assay", "compound", "active").iter_rows():
        if assay in columns:
            labels[rows[compound], columns[assay]] = float(active)
    modalities, given = {}, {}
    for name, each in config.modalities.items():
        if isinstance(each, PredictionsModality):
            given[name] = predictions_of_table(_body(each.file), each, compounds, assays)
            continue
        x, bits = _vectors(work, each, compounds, known)
        modality = Modality(name, x, bits)
        if not modality.known.any():
            raise InputError(f"activity.modalities.{name}", "", "no compound with a vector", "vectors of compounds",
                             "Name the compounds there as the study does.")  # fmt: skip
        modalities[name] = modality
    units = {"scaffold": scaffold_groups(known)}
    if compounds["batch"].count():
        units["batch"] = compounds["batch"].fill_null("unknown").to_numpy().astype(str)
    for split in config.splits:
        if split.by in ("scaffold", "batch") and len(set(units.get(split.by, ()))) < split.folds:
            raise InputError("activity.splits", f"by: {split.by}", f"{len(set(units.get(split.by, ())))} of them",
                             f"{split.folds} at least", "Take fewer folds or another split.")  # fmt: skip
    some = known["standard_smiles"].count() > 0
    tanimoto = fingerprints(known["standard_smiles"].to_list()) if some else None
    return Question(assays, labels, modalities, given, nuisances(compounds), units, tanimoto)


def _vectors(
    work: Work, config: ModalityConfig, compounds: pl.DataFrame, known: pl.DataFrame
) -> tuple[Floats, bool]:  # fmt: skip
    if isinstance(config, StructureModality):
        smiles = known["standard_smiles"].to_list()
        if config.fingerprint == "descriptors":
            return descriptors(smiles)[0], False
        return fingerprints(smiles, config.fingerprint, config.bits, config.radius), True
    if isinstance(config, TableModality):
        return vectors_of_table(_body(config.file), config, compounds)[0], False
    assert isinstance(config, SpaceModality)
    last = space_steps(work.settings.spaces, work.settings.corrections)[config.space][-1]
    profiles = as_wells(read_space(work.inputs, work.key, config.space, last))
    return vectors_of_space(profiles, space_features(profiles), compounds), False


def _body(file: str) -> bytes:
    try:
        return Store().read(file).body
    except ImageError as error:
        raise InputError(
            file, "", error.reason, "a table", "Check its place, seen from the settings' folder."
        ) from error


def _compounds(work: Work, config: ActivityConfig) -> pl.DataFrame:
    if config.compounds is not None:
        return read_compounds(_body(config.compounds.file), config.compounds)
    return compounds_of_wells(*_wells(work))


def _wells(work: Work) -> tuple[pl.DataFrame, pl.DataFrame]:
    wells = pl.concat([work.inputs.read("wells", plate) for plate in work.source], how="diagonal_relaxed")
    keys = ["Metadata_Plate", "Metadata_Well"]

    def counts() -> Iterator[pl.DataFrame]:
        for plate in work.source:
            profiles = work.inputs.read("well_profiles", plate)
            named = "Metadata_Count_Cells"
            cells = pl.col(named) if named in profiles.columns else pl.lit(None)
            yield profiles.select(*keys, cells.cast(pl.Float64).alias("cells"))

    return wells, pl.concat(list(counts()))


def _no_structures(compounds: pl.DataFrame) -> pl.DataFrame:
    """As `structures`, of a question that needs none."""
    names = ("smiles", "standard_smiles", "inchikey", "scaffold", "problem")
    return pl.DataFrame({name: [None] * compounds.height for name in names}, dict.fromkeys(names, pl.String))
