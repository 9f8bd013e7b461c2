"""The chapter "Plates": one board of all plates and stages, maps of the plates, and what drifts between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from morpho_assets.evaluate.study import PLATES
from morpho_assets.imaging.sites import SiteReader
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.profiles.normalize import NORMALIZED_ON
from morpho_assets.report.page import Picture, Section, Table, frame_table, number
from morpho_assets.report.plate import typical_site
from morpho_assets.report.results import Results

STAGES = ("plate_manifest", "raw_images", "image_quality", "masks", "single_cells", "well_profiles")
"""The stages that the board shows, in order: those that can fail or flag sites, or judge the plate."""
LEFT_OUT = "not in this study"
_COUNTS = {
    "Metadata_Count_Cells": "cells",
    "Metadata_Count_Sites": "sites",
    "Metadata_Count_Failed_Sites": "failed sites",
    "Metadata_Count_Flagged_Sites": "flagged sites",
    "Metadata_Count_Implausible_Cells": "implausible cells",
}
_FLAGGED = "Metadata_Count_Flagged_Sites"
_CAPTION = (
    "Counts first: a plate with an empty corner, a gradient or failed sites explains many a profile. Flagged sites are "
    "kept; table image_quality says why they are flagged. A stain that is brighter or dimmer on one plate than on the "
    "others changes every profile of that plate. The maps below share one colour scale."
)


@dataclass(frozen=True)
class PlateState:
    """What the board says of a plate: sites done and failed by stage, flags and closed gates in words, what drifts,
    the next step, and how many sites have a flag."""

    plate: str
    done: Mapping[str, str]
    flags: str
    drift: str
    gate: str
    step: str
    flagged: int = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing about the plate asks for a person."""
        return self.flags == self.drift == "–" and self.gate == "open" and self.step == "none"


def plate_states(
    inputs: Snapshot, plates: Sequence[str], drift: pl.DataFrame, flagged: Mapping[str, int]
) -> list[PlateState]:
    """The states of plates from their commits, the rows of `metrics` on their stains (`drift`) and their numbers of
    flagged sites; plates that need a person first."""
    drifting: dict[str, list[str]] = {}
    for row in drift.filter(~pl.col("holds")).iter_rows(named=True):
        plate, _, stain = str(row["scope"]).partition(", ")
        what = str(row["metric"]).removeprefix("stain_").replace("_", " ")
        drifting.setdefault(plate, []).append(f"{stain} {what}".strip())
    states = [_state(inputs, plate, drifting.get(plate, []), flagged.get(plate) or 0) for plate in plates]
    return sorted(states, key=lambda state: (state.gate == "open", state.step == "none", state.quiet))


def board_sections(
    inputs: Snapshot, readers: Mapping[str, SiteReader], results: Results, left_out: Mapping[str, str]
) -> list[Section]:
    """The chapter on the plates of a study, and on those that are `left_out` of it, each with the reason."""
    plates = list(readers)
    scores = results.metrics.filter(variant=PLATES)
    of_stains = pl.col("metric").str.starts_with("stain_")
    drift = scores.filter(of_stains)
    flagged = dict(results.wells.group_by("Metadata_Plate").agg(pl.col(_FLAGGED).sum()).iter_rows()) if (
        _FLAGGED in results.wells.columns) else {}  # fmt: skip
    states = plate_states(inputs, plates, drift, flagged)
    absent = [PlateState(plate, {}, "–", "–", LEFT_OUT, reason) for plate, reason in left_out.items()]
    tables = [_board([*absent, *states]), _behind(inputs, results, plates)]
    pictures = []
    typical = next((found for plate in plates if (found := typical_site(inputs, readers[plate], plate))), None)
    if typical:
        name, picture, micrometres = typical
        bar = f"100 px, {100 * micrometres:.0f} µm" if micrometres else "100 px"
        text = (
            f"Nuclei and cells as they were found in {name}, the site with the median count. Bar: {bar}. DNA is blue, "
            "ER green, RNA yellow, AGP orange, Mito red."
        )
        pictures.append(Picture(picture, text, "field", wide=True))
    if drift.height:  # what fails comes first
        rows = drift.select("scope", "metric", "value", "p_value", "holds", "n")
        rows = rows.sort("holds", "p_value", nulls_last=True, maintain_order=True)
        tables.append(frame_table(rows, "Each stain of each plate against the other plates of its batch"))
    others = scores.filter(~of_stains).select("evaluator", "scope", "metric", "value", "chance", "n")
    if others.height:
        tables.append(frame_table(others, "Scores of the plates themselves, beside what a trivial method gives"))
    return [Section("Plates and cells", _CAPTION, pictures, tables, _answer(states, results, list(left_out)), "plates")]


def _answer(states: Sequence[PlateState], results: Results, left_out: Sequence[str]) -> str:
    cells = results.wells["Metadata_Count_Cells"]
    counted = f", {number(int(cells.sum()))} cells" if cells.null_count() < len(cells) else ""
    asking = [state.plate for state in states if not state.quiet]
    sites = sum(state.flagged for state in states)
    verdict = f"{len(asking)} of them need a look ({_named(asking)})" if asking else "none of them needs a look"
    plates = f"{len(states)} plate{'s' if len(states) != 1 else ''}"
    some = f"; {number(sites)} single sites are flagged" if sites else ""
    without = f" Left out: {_named(left_out)}; the board says why." if left_out else ""
    return f"{plates} with {number(results.wells.height)} wells{counted}: {verdict}{some}.{without}"


def _named(plates: Sequence[str]) -> str:
    return ", ".join(plates[:3]) + (" …" if len(plates) > 3 else "")


def _state(inputs: Snapshot, plate: str, drift: Sequence[str], flagged: int) -> PlateState:
    commits = {
        stage: inputs.commits[stage, Partition("plate", plate)]
        for stage in STAGES
        if (stage, Partition("plate", plate)) in inputs.commits
    }
    flags = [
        f"{verdict.check.replace('_', ' ')}: {verdict.text}"
        for commit in commits.values() for verdict in commit.verdicts if not verdict.passed and not verdict.blocking
    ]  # fmt: skip
    closed = [
        f"{stage}: {verdict.text}"
        for stage, commit in commits.items() for verdict in commit.verdicts if not verdict.passed and verdict.blocking
    ]  # fmt: skip
    failed = {key for commit in commits.values() for key in commit.sites.failed}
    if closed:
        step = "mend what the gate names, then morpho retry; or morpho waive"
    elif failed:
        step = f"morpho retry: {len(failed)} failed site{'s' if len(failed) != 1 else ''}"
    else:
        step = "look at what is flagged" if flags or drift else "none"
    done = {stage: _sites(commit) for stage, commit in commits.items()}
    told = ("; ".join(flags) or "–", "; ".join(drift) or "–", "; ".join(closed) or "open")
    return PlateState(plate, done, *told, step, flagged)


def _sites(commit: Commit) -> str:
    """Sites done and failed; a stage that has no sites is made."""
    if not commit.sites.total:
        return "made"
    failed = len(commit.sites.failed)
    return f"{commit.sites.total - failed:,}" + (f", {failed} failed" if failed else "")


def _board(states: Sequence[PlateState]) -> Table:
    names = [stage for stage in STAGES if any(stage in state.done for state in states)]
    rows = [
        {"plate": state.plate, **{name.replace("_", " "): state.done.get(name, "–") for name in names}}
        | {"flagged sites": state.flagged, "flags of the plate": state.flags, "drift": state.drift}
        | {"gate": state.gate, "next step": state.step}
        for state in states
    ]  # fmt: skip
    caption = "The board: sites done and failed at each stage; plates that ask for somebody first"
    return frame_table(pl.DataFrame(rows), caption, most=max(len(rows), 1))


def _behind(inputs: Snapshot, results: Results, plates: Sequence[str]) -> Table:
    wells = results.wells
    table = wells.group_by("Metadata_Plate", "Metadata_Batch", maintain_order=True).agg(
        pl.len().alias("wells"),
        (pl.col("Metadata_control_type") == "negcon").sum().alias("negative controls"),
        *(pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()) for name in _COUNTS),
    )
    if NORMALIZED_ON in wells.columns:
        reference = wells.group_by("Metadata_Plate").agg(pl.first(NORMALIZED_ON))
        table = table.join(reference, on="Metadata_Plate", how="left", maintain_order="left")
    return frame_table(table, "What stands behind the profiles", _COUNTS, most=max(len(plates), 1))
