"""Figures of a benchmark: printed one a line for programs, and kept in docs/benchmarks.md for people.

A benchmark is `benchmarks/<name>.py`, run by `make bench-<name>`; it makes one `Figures`, calls `add` for each
result and `publish` once at the end. Only its own section of docs/benchmarks.md is rewritten.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


@dataclass
class Figures:
    """The results of one benchmark: `section` is its name, `about` one paragraph on what is measured and how."""

    section: str
    about: str
    rows: list[tuple[str, float, str, str]] = field(default_factory=list)

    def add(
        self, name: str, value: float, unit: str, note: str = "", at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:  # fmt: skip
        """Print `figure <section>.<name> <value> <unit>` and keep it with a note for the page.

        A figure that has a goal is to be `at_most` or `at_least` so much; whether it is stands on a line of its own.
        """
        print(f"figure {self.section}.{name} {value:.6g} {unit}", flush=True)
        for words, goal, kept in (
            ("at most", at_most, at_most is not None and value <= at_most),
            ("at least", at_least, at_least is not None and value >= at_least),
        ):
            if goal is not None:
                print(f"goal {self.section}.{name} {words} {goal:g}: {'kept' if kept else 'MISSED'}", flush=True)
                note = f"goal: {words} {goal:.4g}" + (f"; {note}" if note else "")
        self.rows.append((f"{self.section}.{name}", value, unit, note))

    def publish(self, text: str = "", command: str = "") -> None:
        """Rewrite this benchmark's section of docs/benchmarks.md; `text` follows the table (what limits the figure).

        `command` makes it; without one that is `make bench-<section>`.
        """
        begin, end = f"<!-- begin {self.section} -->", f"<!-- end {self.section} -->"
        table = ["| figure | value | unit | note |", "|---|---|---|---|"]
        table += [f"| `{name}` | {value:.4g} | {unit} | {note} |" for name, value, unit, note in self.rows]
        machine = (
            f"Python {platform.python_version()}, {platform.machine()}; `{command or f'make bench-{self.section}'}`."
        )
        body = [
            begin,
            f"## {self.section}",
            "",
            self.about,
            "",
            *table,
            "",
            machine,
            *(["", text] if text else []),
            end,
        ]
        block = "\n".join(body)
        page = PAGE.read_text() if PAGE.exists() else "# Benchmarks\n"
        if begin in page:
            before, rest = page.split(begin, 1)
            page = before + block + rest.split(end, 1)[1]
        else:
            page = page.rstrip("\n") + "\n\n" + block + "\n"
        PAGE.write_text(page)
