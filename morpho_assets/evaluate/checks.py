"""What must hold of a study on simulated plates: what was found is what was planted."""

from __future__ import annotations

from typing import Any

import polars as pl

from morpho_assets.evaluate.truth.checks import CHECKS
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Verdict

TRUTH = {name: f"{check.asks} Bound: {check.because}." for name, check in CHECKS.items()}
"""The checks by name, with what each asks."""


def truth_holds(name: str, inputs: Snapshot, study: str, settings: Any) -> Verdict:
    """What was found in simulated plates is what was planted, within the check's bound. Real plates pass: nothing is
    known of them."""
    metrics = inputs.read("metrics", study).filter(metric=name)
    rows = metrics.filter(pl.col("holds").is_not_null())
    if not rows.height:
        text = "nothing to compare: the truth is not known, or holds nothing of this kind"
        return Verdict(check=f"truth_{name}", passed=True, text=text)
    row = rows.row(-1, named=True)
    known = {key: row[key] for key in ("value", "at_least", "at_most", "chance", "n") if row[key] is not None}
    against = metrics.filter(scope="counterpart")["value"].drop_nulls()
    if against.len():
        known["counterpart"] = against[-1]
    text = ", ".join(f"{key} {value:.3g}" for key, value in known.items())
    return Verdict(check=f"truth_{name}", passed=bool(row["holds"]), text=text, facts=known)
