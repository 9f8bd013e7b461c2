"""What a table of power says: as text, as curves, and as advice in a sentence per size of effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from morpho_assets.power.design import Design

Row = Mapping[str, Any]
Line = tuple[list[float], list[float], list[float], list[float]]


def table_text(table: pl.DataFrame, threshold: float) -> str:
    """The table for a terminal: a line per design, a column per size of effect."""
    sizes = sorted(set(table["effect"]))
    heads = [
        "replicates",
        "controls",
        "where",
        *(f"effect {size:g}" for size in sizes),
        "no effect",
        "p < 0.05",
        "wells",
    ]
    lines = [heads]
    for rows in table.partition_by("replicates", "plates", "controls", maintain_order=True):
        first = rows.row(0, named=True)
        powers = {row["effect"]: _share(row, "power", "low", "high") for row in rows.iter_rows(named=True)}
        none = max(rows.iter_rows(named=True), key=lambda row: row["without_effect"])
        lines.append([
            f"{first['replicates']}", f"{first['controls']}", _design(first).where, *(powers[size] for size in sizes),
            _share(none, "without_effect", "without_low", "without_high"),
            _share(first, "false_positive", "false_positive_low", "false_positive_high"),
            f"{first['wells_per_treatment']:.1f}",
        ])  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in lines)  # fmt: skip


def advice(table: pl.DataFrame, target: float, threshold: float) -> list[str]:
    """A sentence per size of effect: the design that takes the fewest wells among those whose power reaches `target`,
    and what fewer replicates, or the best design, give. A design that finds too much where there is nothing (more
    treatments without effect have p under `threshold` than chance allows one of all designs) is never advised, and is
    named."""
    rows = list(table.iter_rows(named=True))
    wrong = _finding_nothing(table, threshold)
    fair = [row for row in rows if _design(row) not in wrong]
    told = [_size(size, [row for row in fair if row["effect"] == size], target)
            for size in sorted({row["effect"] for row in fair})]  # fmt: skip
    told = told or ["No design here can be trusted."]
    for design in sorted(wrong, key=lambda design: design.text):
        row = next(row for row in rows if _design(row) == design)
        share = _share(row, "false_positive", "false_positive_low", "false_positive_high")
        told.append(f"Not advised: {design.text}; {share} of treatments without effect have p < {threshold:g}.")
    return told


def _finding_nothing(table: pl.DataFrame, threshold: float) -> set[Design]:
    """The designs whose false positives are more than chance (binomial, p < 0.05 for all designs together)."""
    from scipy.stats import binom

    firsts = table.unique(["replicates", "controls", "plates"], maintain_order=True)
    found = set()
    for row in firsts.iter_rows(named=True):
        count = round(row["false_positive"] * row["simulations_without"])
        if binom.sf(count - 1, row["simulations_without"], threshold) < 0.05 / firsts.height:
            found.add(_design(row))
    return found


def _size(size: float, fair: list[Row], target: float) -> str:
    enough = [row for row in fair if row["power"] >= target]
    if not enough:
        best = max(fair, key=lambda row: (row["power"], -row["wells_per_treatment"]))
        return (f"An effect of {size:g} is found in {100 * target:g} % by no design here; most often, in "
                f"{_share(best, 'power', 'low', 'high')}, with {_design(best).text}.")  # fmt: skip
    best = min(enough, key=lambda row: (row["wells_per_treatment"], -row["power"]))
    text = (f"With {_design(best).text} an effect of {size:g} is found in {_share(best, 'power', 'low', 'high')} "
            f"({_share(best, 'without_effect', 'without_low', 'without_high')} without effect)")  # fmt: skip
    fewer = [row for row in fair if row["controls"] == best["controls"] and row["replicates"] < best["replicates"]
             and _design(row).where == _design(best).where]  # fmt: skip
    if fewer:
        less = max(fewer, key=lambda row: row["replicates"])
        text += f"; {less['replicates']} replicates: {_share(less, 'power', 'low', 'high')}"
    return f"{text}."


def curves(table: pl.DataFrame) -> dict[str, dict[str, Line]]:
    """By where replicates lie and how many controls there are, a line per number of replicates: sizes of effect, power,
    and both ends of its interval."""
    panels: dict[str, dict[str, Line]] = {}
    for rows in table.partition_by("plates", "controls", "replicates", maintain_order=True):
        design = _design(rows.row(0, named=True))
        rows = rows.sort("effect")
        sizes, share, low, high = (rows[name].to_list() for name in ("effect", "power", "low", "high"))
        panel = panels.setdefault(f"{design.where}, {design.controls} controls a plate", {})
        panel[f"{design.replicates} replicates"] = (sizes, share, low, high)
    return panels


def _design(row: Row) -> Design:
    return Design(row["replicates"], row["controls"], row["plates"])


def _share(row: Row, value: str, low: str, high: str) -> str:
    return f"{100 * row[value]:.0f} % [{100 * row[low]:.0f}, {100 * row[high]:.0f}]"
