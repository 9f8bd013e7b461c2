"""The answers in docs/sql.md: what each statement gives on the small demo that the tests make.

`python -m morpho_assets_tests.cookbook` makes that demo and writes the page anew; `--catalog FILE` takes one that is
there. A test compares every answer with what the statement gives.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from morpho_assets.lake.catalog import query_catalog
from morpho_assets_tests.project import ROOT, make_project

PAGE = ROOT / "docs/sql.md"
ROWS, COLUMNS, WIDTH = 3, 8, 44
"""What is shown of an answer: rows, columns, and characters of a text."""
ELSEWHERE = {"who", "at", "path", "label_image"}
"""Columns that differ from one machine to the next; the page shows … in their place."""
DIFFERS = "it differs a little between processors"
_BY_PROCESSOR = re.compile(
    r"embedding|projections|nearest\(|correction_notes|FROM (metrics|treatments)\b(?!.*'cellpro)", re.DOTALL
)
"""Statements on what a network, a map or a comparison of spaces gives."""
_BLOCK = re.compile(r"```sql\n(?P<statement>.*?)```\n(?P<answer>\n\|.*?\n\n\*[^\n]*\*\n)?", re.DOTALL)


@dataclass(frozen=True)
class Answered:
    """A statement of the page and the answer below it, as text; empty where none stands there."""

    statement: str
    answer: str

    def differences(self, frame: pl.DataFrame) -> Iterator[str]:
        """How the answer differs from what the statement gives now: in columns, and unless it says that it differs
        between processors in rows, in texts, and in numbers beyond 2 %; in whether there are any rows all the same."""
        was, now = self.answer.strip().splitlines(), answer(self.statement, frame).strip().splitlines()
        if not was:
            yield "no answer stands below it"
            return
        if was[0] != now[0]:
            yield f"columns {was[0]}, now {now[0]}"
        if DIFFERS in was[-1]:
            if not frame.height:
                yield f"{was[-1]}, now {now[-1]}"
            return
        if was[-1] != now[-1]:
            yield f"{was[-1]}, now {now[-1]}"
        for before, after in zip(was[2:-2], now[2:-2], strict=False):
            if not all(map(_alike, before.split(" | "), after.split(" | "))):
                yield f"row {before}, now {after}"


def statements(page: str) -> list[Answered]:
    return [Answered(match["statement"].strip(), match["answer"] or "") for match in _BLOCK.finditer(page)]


def with_answers(page: str, ask: Callable[[str], pl.DataFrame]) -> str:
    """The page with the answer of every statement below it, made anew."""

    def answered(match: re.Match[str]) -> str:
        statement = match["statement"]
        return f"```sql\n{statement}```\n\n{answer(statement, ask(statement.strip().rstrip(';')))}"

    return _BLOCK.sub(answered, page)


def answer(statement: str, frame: pl.DataFrame) -> str:
    """The first rows and columns of an answer as a table, and a line that says how many there are."""
    shown = frame.head(ROWS).select(frame.columns[:COLUMNS])
    lines = [_row(shown.columns), _row(["---"] * shown.width)]
    lines += [_row([_cell(name, value) for name, value in row.items()]) for row in shown.iter_rows(named=True)]
    left = f" and {frame.width - COLUMNS} more columns" if frame.width > COLUMNS else ""
    rows = f"{shown.height} of {frame.height} rows" if frame.height > ROWS else f"{frame.height} rows"
    rows = {0: "No rows", 1: "1 row"}.get(frame.height, rows)
    differs = f"; {DIFFERS}" if frame.height and _BY_PROCESSOR.search(statement) else ""
    return "\n".join([*lines, "", f"*{rows}{left}{differs}.*"]) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if name in ELSEWHERE:
        return "…"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1_000 else f"{value:.0f}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _alike(was: str, now: str) -> bool:
    try:
        first, last = (float(text.strip("| ")) for text in (was, now))
    except ValueError:
        return was == now
    return math.isclose(first, last, rel_tol=0.02, abs_tol=1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", help="a demo's database (default: a demo is made)")
    catalog = parser.parse_args().catalog
    with tempfile.TemporaryDirectory() as folder:
        if catalog is None:
            project = make_project(Path(folder))
            project.run("demo", "--size", "tiny")
            catalog = project.workspace.settings.catalog
        PAGE.write_text(with_answers(PAGE.read_text(), lambda statement: query_catalog(catalog, statement)))


if __name__ == "__main__":
    main()
