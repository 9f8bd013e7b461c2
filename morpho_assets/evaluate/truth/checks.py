"""What is checked where the truth is known, within which bound, and why that bound.

A bound comes from what the simulator planted and from how many units stand behind a value, never from what a run gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from morpho_assets.evaluate.metrics import metric_row

POINTS = {"check": pl.String, "unit": pl.String, "planted": pl.Float64, "found": pl.Float64}


@dataclass(frozen=True)
class Check:
    """One question: the value must be `at_least`, or `at_most`, its bound; `because` gives the reason of the bound.

    `counterpart` says on which inputs it must fail, so that nothing passes on an artefact; empty where the bound is on
    what the value is `beyond_chance`, which is measured on shuffled inputs itself.
    """

    asks: str
    because: str
    counterpart: str = ""
    at_least: float | None = None
    at_most: float | None = None
    beyond_chance: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value keeps the bound; NaN never does."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Finding:
    """What a check gave: its value, what chance gives (None where that means nothing), the units behind it,
    `points`: (unit, planted, found) of each unit, for the picture, and what its `counterpart` gave, None if it could
    not be asked."""

    check: str
    value: float
    n: int
    chance: float | None = None
    points: list[tuple[str, float, float]] = field(default_factory=list)
    counterpart: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the value keeps the bound, and the counterpart does not."""
        check = CHECKS[self.check]
        value = self.value - (self.chance or 0.0) if check.beyond_chance else self.value
        return check.holds(value) and (self.counterpart is None or not check.holds(self.counterpart))

    def rows(self) -> list[dict[str, object]]:
        """Rows of the metrics table: the check with its bound and whether it holds, and its counterpart."""
        check = CHECKS[self.check]
        bound = {"at_least": check.at_least, "at_most": check.at_most, "holds": self.holds}
        rows = [metric_row("truth", "check", self.check, self.value, self.n, self.chance) | bound]
        if self.counterpart is not None:
            rows.append(metric_row("truth", "counterpart", self.check, self.counterpart, self.n))
        return rows


def beside(findings: Iterable[Finding], draws: Iterable[Iterable[Finding]]) -> Iterator[Finding]:
    """The findings, each with the mean of what the same check gives in several draws of inputs on which it must fail.
    One that no draw can ask stays as it is."""
    given: dict[str, list[float]] = {}
    for draw in draws:
        for finding in draw:
            given.setdefault(finding.check, []).append(finding.value)
    for finding in findings:
        values = given.get(finding.check, [])
        yield replace(finding, counterpart=float(np.mean(values))) if values else finding


def points_frame(findings: Iterable[Finding]) -> pl.DataFrame:
    """Columns check, unit, planted and found: one row per unit of each finding."""
    rows = [(finding.check, *point) for finding in findings for point in finding.points]
    return pl.DataFrame(rows, schema=POINTS, orient="row")


_PARAMETER = (
    "a quarter of the variance of what is measured is what was planted; under one chance in two hundred over 31 "
    "treatments. Most treatments change a parameter by less than wells differ, so ranks would compare noise"
)
_MISSED = "a missed fault spoils a profile unseen: at most one in four"
_FALSE = "a false flag costs one look: at least every second one is right"

CHECKS: dict[str, Check] = {
    "nuclei_f1": Check(
        "Are nuclei found? F1 at IoU 0.5, mean over sites; objects at the border left out, each nucleus for itself.",
        "what classical methods reach on hand-drawn fluorescent nuclei (0.90, docs/segmentation.md)",
        counterpart="masks of the site before",
        at_least=0.9,
    ),
    "cells_f1": Check(
        "Are cells found? As nuclei; a cell with two nuclei is one cell.",
        "0.05 below the nuclei: where cells touch, no stain shows the wall",
        counterpart="masks of the site before",
        at_least=0.85,
    ),
    "count_error": Check(
        "Is the count right? Mean over sites of |found - true| / true cells away from the border.",
        "the count of 26 cells itself varies by 20 % from site to site; the error has to be smaller",
        counterpart="masks of the site before",
        at_most=0.15,
    ),
    "effect_length": Check(
        "Are strong effects strong? Spearman of the squared length of a treatment's effect (mean product of two of its "
        "corrected replicates, in which noise cancels) with the planted length, the count left out.",
        "over 31 treatments 0.42 has one chance in a hundred; nothing more is asked, as a unit of effect is one SD of "
        "cells in every parameter but not one SD of features",
        counterpart="treatments shuffled",
        at_least=0.42,
    ),
    "nuclear_area": Check(
        "Correlation of planted and measured change of the nuclear area.",
        _PARAMETER,
        counterpart="treatments shuffled",
        at_least=0.5,
    ),
    "cell_area": Check(
        "Correlation of planted and measured change of the cell area.",
        _PARAMETER,
        counterpart="treatments shuffled",
        at_least=0.5,
    ),
    "er_intensity": Check(
        "Correlation of planted and measured change of the ER stain, read over nuclei, whose outline is the surest.",
        _PARAMETER,
        counterpart="treatments shuffled",
        at_least=0.5,
    ),
    "nucleoli": Check(
        "Correlation of planted contrast of nucleoli and measured contrast of RNA in nuclei.",
        _PARAMETER,
        counterpart="treatments shuffled",
        at_least=0.5,
    ),
    "viability": Check(
        "Correlation of planted and measured change of the cell count.",
        _PARAMETER,
        counterpart="treatments shuffled",
        at_least=0.5,
    ),
    "active_auc": Check(
        "Do q-values tell active from inactive treatments? ROC AUC of the q-value of mAP.",
        "0.9: an inactive treatment comes before an active one in one pair of ten, where weak doses are among them",
        counterpart="treatments shuffled",
        at_least=0.9,
    ),
    "null_retrieved": Check(
        "Is nothing found where nothing is? Share retrieved of groups of wells in which nothing acts (controls and "
        "inactive treatments, labels drawn anew within each plate, ten times).",
        "the false discovery rate that the threshold promises",
        counterpart="the treatments that act, instead of wells in which nothing does",
        at_most=0.05,
    ),
    "map_rises": Check(
        "Does mAP rise with the effect? Spearman of mAP with the length of the planted effect, the count left out.",
        "mAP ends at 1, so strong effects tie; telling inactive from active alone, and no more, gives about 0.75, "
        "and two thirds of that is asked",
        counterpart="treatments shuffled",
        at_least=0.5,
    ),
    "nsc": Check(
        "Is the mechanism right? NSC: the nearest profile of another compound has the same mechanism; active "
        "treatments with a morphology.",
        "a compound's own part is a quarter of its mechanism's, so its nearest is its partner unless noise is larger; "
        "two thirds allow for the low doses",
        counterpart="treatments shuffled",
        at_least=0.66,
    ),
    "nscb_drop": Check(
        "Does the mechanism survive the batch? NSC - NSCB (nearest of another batch) after correction.",
        "nothing is expected; over 42 profiles of which a fifth change their answer three standard errors are 0.2",
        counterpart="mechanisms shuffled in other batches, which all of NSC would then be lost to",
        at_most=0.2,
    ),
    "batch_removed": Check(
        "Does correction remove the batch? Gain of the mean batch metric from profiles as measured to normalised and "
        "sphered ones, as a share of the distance to permuted batches.",
        "half of the planted batch effect has to go; all of it gives 1",
        counterpart="batches shuffled",
        at_least=0.5,
    ),
    "map_kept": Check(
        "Does correction keep the biology? Mean mAP after correction minus mean mAP before, same wells, features and "
        "folds of the controls, beyond what shuffled treatments gain by it (the chance).",
        "on randomised layouts position and batch carry nothing of the treatment: removing them cannot cost",
        at_least=0.0,
        beyond_chance=True,
    ),
    "position": Check(
        "Do position effects show? Spearman, over wells in which nothing acts, of the planted position effect with "
        "the mean log intensity of nuclei over all stains, relative to the plate.",
        "over 88 wells 0.3 has under one chance in two hundred",
        counterpart="places shuffled",
        at_least=0.3,
    ),
    "count_finds_toxic": Check(
        "Does counting find the toxic mechanism? Share of its treatments that the count space retrieves.",
        "three quarters of the cells die, over three SD of a control well: none may be missed",
        counterpart="treatments shuffled",
        at_least=1.0,
    ),
    "count_finds_else": Check(
        "Does counting find nothing else? Share retrieved of the treatments that leave the count alone.",
        "the false discovery rate that the threshold promises",
        counterpart="the toxic treatments, instead of those that spare cells",
        at_most=0.05,
    ),
    "focus_recall": Check(
        "Share of sites out of focus that are flagged.",
        _MISSED,
        counterpart="faults shuffled over sites",
        at_least=0.75,
    ),
    "focus_precision": Check(
        "Share of focus flags on sites out of focus.", _FALSE, counterpart="faults shuffled over sites", at_least=0.5
    ),
    "saturation_recall": Check(
        "Share of over-exposed images with a flag (debris counts: few bright cells do not fill a percent).",
        _MISSED,
        counterpart="faults shuffled over sites",
        at_least=0.75,
    ),
    "saturation_precision": Check(
        "Share of saturation flags on over-exposed images.",
        _FALSE,
        counterpart="faults shuffled over sites",
        at_least=0.5,
    ),
    "drift": Check(
        "Is the drift of stains seen? Spearman over plates and channels of the planted log gain with the measured "
        "contrast, both against the median of the other plates.",
        "over 20 plates and channels 0.5 has about one chance in eighty",
        counterpart="plates shuffled",
        at_least=0.5,
    ),
    "drift_recall": Check(
        "Share of stains that stand out on a plate by twice what the flag asks for (7 MAD, 40 %) that are flagged.",
        _MISSED,
        counterpart="plates shuffled",
        at_least=0.75,
    ),
    "drift_precision": Check(
        "Share of drift flags on stains planted off the same way, by at least half of what the flag asks for (10 %).",
        _FALSE,
        counterpart="plates shuffled",
        at_least=0.5,
    ),
}
"""Every check by name, in the order of the pipeline."""
