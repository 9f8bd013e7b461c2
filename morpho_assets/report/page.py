"""The report: one HTML file that opens anywhere, needs no network, and can be sent by mail.

What it says comes in as sections of figures and tables, and as the data of its explorers (treatments, plates, maps);
the folder `web` beside this file says how it looks and what it does. Data lie in the page as JSON, each in an element
of its own that is read when it is shown.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import polars as pl

from morpho_assets.errors import InputError

MOST_ROWS = 5000  # of a table on the page; the rest is one SQL query away
FIRST_ROWS = 20  # that are there without JavaScript
SCRIPTS = ("dom", "tables", "cells", "plates", "maps", "treatment", "app")
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
    """Rows of text under column heads; `numeric` columns stand right, `treatments` lead to a treatment's page. `total`
    counts the rows behind those shown, `digits` are those of numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[bool, ...]
    total: int
    digits: int = 3
    treatments: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Section:
    """A chapter: the sentence that answers its question, what was asked and how to read it, then pictures, then tables.

    `widget` names an explorer of the page's data ("plates" or "maps"), which stands before the pictures.
    """

    title: str
    caption: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    answer: str = ""
    widget: Literal["", "plates", "maps"] = ""


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
    title: str, summary: Sequence[KeyFigure], sections: Sequence[Section], made: Made, lead: str = "",
    data: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The whole page; `lead` is the sentence under the title, `data` what the explorers read, each by its id. All text
    is escaped; equal input gives equal bytes."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["rows_json"] = _rows_json
    anchored = list(zip(_anchors(section.title for section in sections), sections, strict=True))
    plain = [(id, jinja2.utils.markupsafe.Markup(script_json(value))) for id, value in (data or {}).items()]
    return environment.from_string(_web("report.html.j2")).render(
        title=title, lead=lead, summary=summary, sections=anchored, made=made, data=plain, first_rows=FIRST_ROWS,
        style=jinja2.utils.markupsafe.Markup(_web("report.css")),
        script=jinja2.utils.markupsafe.Markup("\n".join(_web(f"{name}.js") for name in SCRIPTS)),
    )  # fmt: skip


def script_json(value: Any) -> str:
    """JSON that may stand in a script element, whatever text is in it. Numbers keep 6 digits."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def rounded(value: float | None) -> float | int | None:
    """A number to 6 digits, for data; None for NaN, infinities and None."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")


def frame_table(
    frame: pl.DataFrame, caption: str, heads: Mapping[str, str] | None = None, most: int = MOST_ROWS, digits: int = 3
) -> Table:
    """The first `most` rows of a frame as a table; its caption says where there are more. Columns that name treatments
    (`treatment`, `name`, Metadata_Perturbation) lead to their pages.

    `heads` names columns as people read them (with the unit), and may leave some out: those lose their `Metadata_`.
    Numbers keep `digits` significant digits; null, NaN and empty text are a dash and sort last.
    """
    heads = heads or {}
    shown = frame.head(most)
    columns = [[_cell(value, digits) for value in series] for series in shown.iter_columns()]
    if frame.height > most:
        caption += f" The first {most:,} of {frame.height:,} rows; the database has all."
    return Table(
        caption=caption,
        columns=tuple(heads.get(name, name.removeprefix("Metadata_").replace("_", " ")) for name in frame.columns),
        rows=tuple(zip(*columns, strict=True)),
        numeric=tuple(dtype.is_numeric() for dtype in frame.dtypes),
        total=frame.height,
        digits=digits,
        treatments=tuple(name in _TREATMENTS for name in frame.columns),
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


_TREATMENTS = ("treatment", "name", "Metadata_Perturbation")


def _rows_json(table: Table, id: str) -> Any:
    import jinja2

    columns = [
        {"name": name, "numeric": numeric, "digits": table.digits, "link": link}
        for name, numeric, link in zip(
            table.columns, table.numeric, table.treatments or (False,) * len(table.columns), strict=True
        )
    ]
    rows = [[_value(cell, numeric) for cell, numeric in zip(row, table.numeric, strict=True)] for row in table.rows]
    data = {"caption": table.caption, "columns": columns, "rows": rows, "file": f"{id}.csv"}
    return jinja2.utils.markupsafe.Markup(script_json(data))


def _value(cell: Cell, numeric: bool) -> float | str | None:
    """What a table's cell holds as data: its number, or its text; None where it is empty."""
    if numeric and not isinstance(cell.order, str):
        return rounded(cell.order)
    return None if cell.order == "" else cell.text


def _web(name: str) -> str:
    return resources.files("morpho_assets.report").joinpath("web").joinpath(name).read_text(encoding="utf-8")


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
