"""What the lake holds of a study: read once, used by every chapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from morpho_assets.evaluate.study import PLATES
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.tables import table
from morpho_assets.profiles.study import SHUFFLED
from morpho_assets.report.names import Treatment, treatments_of

if TYPE_CHECKING:
    from morpho_assets.studies.model import Study


@dataclass(frozen=True)
class Results:
    """The tables of a study; `main` is the variant whose hits are listed, `finals` every space after its last step."""

    study: Study
    wells: pl.DataFrame
    metrics: pl.DataFrame
    treatments: pl.DataFrame
    projections: pl.DataFrame
    encoders: pl.DataFrame
    points: pl.DataFrame
    clusters: pl.DataFrame
    named: Mapping[str, Treatment]
    main: str
    finals: Sequence[str]

    def overall(self, metric: str, variant: str, evaluator: str | None = None) -> dict[str, float]:
        """The row of a metric over all treatments; of the first evaluator that has it, unless one is named."""
        rows = self.metrics.filter(
            pl.col("metric") == metric, pl.col("scope") == "overall", pl.col("variant") == variant
        )
        if evaluator is not None:
            rows = rows.filter(pl.col("evaluator") == evaluator)
        return rows.row(0, named=True) if rows.height else {}

    def kinds(self) -> dict[str, str]:
        """The kind of each evaluator of the study by its name."""
        return {name: str(settings["evaluator"]) for name, settings in self.study.evaluators.items()}

    def hits(self, variant: str, evaluator: str | None = None) -> set[str]:
        """The treatments that retrieval finds in a variant, by one of its evaluators or by any."""
        retrieval = [name for name, kind in self.kinds().items() if kind == "retrieval"]
        wanted = retrieval if evaluator is None else [evaluator]
        found = self.treatments.filter(
            pl.col("variant") == variant, pl.col("evaluator").is_in(wanted), pl.col("retrieved")
        )
        return set(found["treatment"])


def read_results(inputs: Snapshot, study: Study, plates: Sequence[str], main: str, finals: Sequence[str]) -> Results:
    """The results of a study on its plates."""
    frames = (inputs.scan("normalized_profiles", [plate]).select("^Metadata_.*$").collect() for plate in plates)
    wells = pl.concat(frames, how="diagonal_relaxed") if plates else table("normalized_profiles").empty()
    return Results(
        study, wells, inputs.read("metrics", study.name), inputs.read("treatments", study.name),
        inputs.read("projections", study.name),
        inputs.read("encoders", study.name) if study.encoders or study.sets else table("encoders").empty(),
        inputs.read("planted_and_found", study.name), inputs.read("clusters", study.name), treatments_of(wells), main,
        finals,
    )  # fmt: skip


def shuffled(variant: str) -> str:
    """The name of a variant's twin with treatments shuffled among the wells."""
    return f"{variant}, {SHUFFLED}"


def of_spaces(metrics: pl.DataFrame) -> pl.DataFrame:
    """Scores of spaces: without those of plates and of shuffled twins."""
    return metrics.filter(pl.col("variant") != PLATES, ~pl.col("variant").str.ends_with(SHUFFLED))
