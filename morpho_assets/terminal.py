"""Progress on a terminal: a line per piece of work, redrawn in place; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from morpho_assets.compute import Progress


class TerminalProgress:
    """Tells progress on standard output; a context manager that ends the last line."""

    def __init__(self) -> None:
        self._label = ""
        self._began = 0.0
        self._live = sys.stdout.isatty()

    def of(self, context: Any) -> Progress:
        """The same for every asset: their labels tell them apart."""
        return self

    def title(self, text: str) -> None:
        """A line of its own."""
        self._end_line()
        self._write(f"{text}\n")

    def __call__(self, label: str, done: int, total: int) -> None:
        if label != self._label:
            self._end_line()
            self._label, self._began = label, time.monotonic()
        width = 24 * done // total if total else 24
        line = (
            f"  {label:<20} {'█' * width}{'·' * (24 - width)} {done} of {total}, {time.monotonic() - self._began:.0f} s"
        )
        if self._live:
            self._write(f"\r{line}")
        if done == total:
            self._write("\n" if self._live else f"{line}\n")
            self._label = ""

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_line()

    def _end_line(self) -> None:
        if self._label and self._live:
            self._write("\n")
        self._label = ""

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
