"""The report: one HTML file that opens anywhere, needs no network, and can be sent by mail.

What it says comes in as sections of figures and tables; `report.html.j2` beside this file says how it looks.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import polars as pl

from morpho_assets.errors import InputError

MOST_ROWS = 200  # of a table on the page; the rest is one SQL query away
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class KeyFigure:
    """One number of the summary; `chance` says what it is to be read against, such as "chance 0.05"."""

    label: str
    value: str
    chance: str = ""


@dataclass(frozen=True)
class Picture:
    """An image of `report.figures` with the sentence under it; `wide` gives it the full width.

    A "chart" (ink on white) is turned dark on a dark page. In a "field" colours carry values (micrographs, heat maps):
    it is left as it is.
    """

    image: bytes
    caption: str
    kind: Literal["field", "chart"] = "field"
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """A table cell: what is shown, and what it is sorted by (a number, or its text)."""

    text: str
    order: float | str


@dataclass(frozen=True)
class Table:
    """Rows of text under column heads; `numeric` columns stand right. `total` counts the rows behind those shown."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[bool, ...]
    total: int


@dataclass(frozen=True)
class Section:
    """A chapter: what was asked and found in plain words, then pictures, then tables."""

    title: str
    caption: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Query:
    """A question and the SQL that answers it."""

    question: str
    sql: str


@dataclass(frozen=True)
class Made:
    """How the report was made: enough to make it again, and to ask the database more."""

    code_version: str
    settings_hash: str
    plates: Sequence[str]
    queries: Sequence[Query] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def render_report(
    title: str, summary: Sequence[KeyFigure], sections: Sequence[Section], made: Made, lead: str = ""
) -> str:
    """The whole page; `lead` is the sentence under the title. All text is escaped; equal input gives equal bytes."""
    import jinja2

    template = resources.files("morpho_assets.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    anchored = list(zip(_anchors(section.title for section in sections), sections, strict=True))
    return environment.from_string(template).render(
        title=title, lead=lead, summary=summary, sections=anchored, made=made
    )


def frame_table(
    frame: pl.DataFrame, caption: str, heads: Mapping[str, str] | None = None, most: int = MOST_ROWS, digits: int = 3
) -> Table:
    """The first `most` rows of a frame as a table.

    `heads` names columns as people read them (with the unit), and may leave some out: those lose their `Metadata_`.
    Numbers keep `digits` significant digits; null, NaN and empty text are a dash and sort last.
    """
    heads = heads or {}
    shown = frame.head(most)
    columns = [[_cell(value, digits) for value in series] for series in shown.iter_columns()]
    return Table(
        caption=caption,
        columns=tuple(heads.get(name, name.removeprefix("Metadata_").replace("_", " ")) for name in frame.columns),
        rows=tuple(zip(*columns, strict=True)),
        numeric=tuple(dtype.is_numeric() for dtype in frame.dtypes),
        total=frame.height,
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: 1,234, 0.700 and 2.1e−5 below 0.001; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif abs(value) >= 10**digits - 0.5:
        text = f"{value:,.0f}"
    elif abs(value) >= 1e-3:
        text = f"{value:#.{digits}g}".rstrip(".")
    else:
        mantissa, exponent = f"{value:.1e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", MINUS)


def _cell(value: Any, digits: int) -> Cell:
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value))
    if isinstance(value, int | float):
        return Cell(number(value, digits), "" if math.isnan(value) else float(value))
    if isinstance(value, pl.Series | list | tuple):
        value = ", ".join(map(str, value))
    text = "" if value is None else str(value)
    return Cell(text or "–", text)


def _data_uri(image: bytes) -> str:
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        kind = "webp"
    elif image[:4] == b"\x89PNG":
        kind = "png"
    else:
        raise InputError(
            "report", "picture", f"bytes that begin {image[:8]!r}", "a WebP or PNG image", "Draw it again."
        )
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _anchors(titles: Any) -> list[str]:
    """One distinct link target per title, made of its letters and digits."""
    anchors: list[str] = []
    for title in titles:
        base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        same = sum(anchor == base or anchor.startswith(f"{base}--") for anchor in anchors)
        anchors.append(f"{base}--{same + 1}" if same else base)
    return anchors
