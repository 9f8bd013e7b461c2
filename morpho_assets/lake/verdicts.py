"""Making verdicts: what the checks of the rooms share."""

from __future__ import annotations

from collections.abc import Sequence

from morpho_assets.lake.ledger import Verdict

_MOST = 20


def warning(check: str, faults: Sequence[str], good: str) -> Verdict:
    """Passed without faults; else a sentence for each. Stops nothing."""
    return Verdict(check=check, passed=not faults, text="; ".join(faults) or good)


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
