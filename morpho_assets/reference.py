"""The reference pages, made from the code: docs/tables.md from the registry of tables, docs/configuration.md's keys
from the settings, the checks of docs/truth.md, the oracles of docs/measurements.md and the stages of
docs/architecture.md from theirs.
`python -m morpho_assets.reference` writes them; a test tells when they are old."""

from __future__ import annotations

import inspect
import re
import types
import typing
from pathlib import Path

import polars as pl
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from morpho_assets.evaluate.evaluators import EVALUATORS, PLATE_EVALUATORS, TRUTH_EVALUATORS
from morpho_assets.evaluate.truth.checks import CHECKS
from morpho_assets.lake.tables import TABLES, Table
from morpho_assets.measure.oracles import CHECKS as ORACLES
from morpho_assets.profiles.recipe import Recipe
from morpho_assets.settings import Settings
from morpho_assets.stages import STAGES
from morpho_assets.studies.model import Study

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- begin keys -->", "<!-- end keys -->"


def tables_page() -> str:
    """Every table of the lake and the catalog: keys, columns, types, units, meanings."""
    head = [
        "# Tables",
        "",
        "Every table of `data/morpho.duckdb` and of the lake. Keys are **bold**. Made by `make docs` from the registry",
        "`morpho_assets/lake/tables.py`; the database carries the same text as comments, and of features in a table, "
        "`features`.",
    ]
    return "\n".join(head) + "\n" + "".join(_table(table) for table in TABLES.values())


def truth_page(page: str) -> str:
    """The page with its table of checks, between the two marks, made anew."""
    before, rest = page.split(BEGIN, 1)
    lines = ["| check | asks | bound | because | must fail on |", "|---|---|---|---|---|"]
    for name, check in CHECKS.items():
        bound = f"≥ {check.at_least:g}" if check.at_least is not None else f"≤ {check.at_most:g}"
        asks = check.asks.replace("|found - true|", "abs(found - true)")
        lines.append(f"| `{name}` | {asks} | {bound} | {check.because} | {check.counterpart} |")
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1]


def architecture_page(page: str) -> str:
    """The page with its table of stages, between the two marks, made anew."""
    before, rest = page.split(BEGIN, 1)
    lines = ["| stage | of each | reads | writes | settings | code version | pool |", "|---|---|---|---|---|---|---|"]
    for stage in STAGES.values():
        reads = ", ".join(dict.fromkeys(f"`{each.stage}`" for each in stage.inputs)) or "its source"
        writes = ", ".join(f"`{table}`" for table in stage.outputs) or "the page"
        settings = f"`{stage.named}`" if stage.named else "of the study" if stage.kind == "study" else "none"
        kind = f"{stage.kind} and encoder" if stage.parts else stage.kind
        cells = (f"`{stage.name}`", kind, reads, writes, settings, stage.code_version, stage.pool or "none")
        lines.append(f"| {' | '.join(cells)} |")
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1]


def measurements_page(page: str) -> str:
    """The page with its table of oracles, between the two marks, made anew."""
    from morpho_assets.measure.site import feature_columns

    columns = feature_columns(["DNA", "ER", "RNA", "AGP", "Mito"], ["Nuclei", "Cells", "Cytoplasm"], "jump")
    before, rest = page.split(BEGIN, 1)
    lines = ["| family | columns | oracle | at | fields | within | but |", "|---|---|---|---|---|---|---|"]
    for check in sorted(ORACLES, key=lambda check: check.family):
        number = sum(check.covers(name) for name in columns) or "further"
        within = " or ".join(f"{bound:g}" for bound in (check.relative, check.absolute) if bound) or "0"
        but = "; ".join(f"{name}: {objects}" for name, objects in check.but.items())
        but += f" ({check.because})" if but else ""
        cells = (check.family, number, check.oracle, check.settings, ", ".join(check.fields), within, but)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1]


def _table(table: Table) -> str:
    bold = {name: f"**{name}**" for name in table.keys}
    rows = [
        f"| {bold.get(column.name, column.name)} | {_type(column.dtype)} | {column.unit} | {column.meaning} |"
        for column in table.columns
    ]
    rows += [f"| `{family.prefix}*` | {_type(family.dtype)} | | {family.meaning} |" for family in table.families]
    kind = "" if table.native else " A view over Parquet files."
    about = ["", f"## {table.name}", "", f"{table.about} One partition per {table.partition}.{kind}", ""]
    return "\n".join([*about, "| column | type | unit | meaning |", "|---|---|---|---|", *rows, ""])


def _type(dtype: object) -> str:
    return str(dtype() if isinstance(dtype, type) and issubclass(dtype, pl.DataType) else dtype)


def configuration_page(page: str) -> str:
    """The page with its tables of keys, between the two marks, made anew."""
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    shown: set[str] = set()
    settings, study, recipe = (_keys(model, shown) for model in (Settings, Study, Recipe))
    parts = ["## Keys of morpho.yaml", "", *settings, "", "## Keys of a study", "", *study]
    parts += ["", "## Settings of the evaluators", "", "In a study, below the name that you give the evaluator."]
    for model, _ in (*EVALUATORS.values(), *PLATE_EVALUATORS.values(), *TRUTH_EVALUATORS.values()):
        parts += _described(model, shown)
    parts += ["", "## Keys of a recipe", "", *recipe]
    return before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + after


def _keys(model: type[BaseModel], shown: set[str]) -> list[str]:
    """A table of the model's fields, then one of each model that its fields hold and that was not shown before."""
    lines, nested = [], {}
    for name, field in model.model_fields.items():
        held = _models(field.annotation)
        nested.update({other.__name__: other for other in held})
        lines.append(f"| `{name}` | {_default(field, held)} | {_cell(field.description)} |")
    table = ["| key | default | meaning |", "|---|---|---|", *lines]
    for other in nested.values():
        table += _described(other, shown)
    return table


def _described(model: type[BaseModel], shown: set[str]) -> list[str]:
    """Heading, docstring and keys of a model, unless it was shown before."""
    if model.__name__ in shown:
        return []
    shown.add(model.__name__)
    paragraphs = inspect.cleandoc(model.__doc__ or "").split("\n\n")
    about = [line for paragraph in paragraphs for line in ("", *_markdown(paragraph.splitlines()))]
    return ["", f"### {model.__name__}", *about, "", *_keys(model, shown)]


def _markdown(lines: list[str]) -> list[str]:
    """A paragraph of a docstring as it is; one of words and, some spaces further, what each means as a list."""
    if not re.match(r"\S.*? {2,}\S", lines[0]):
        return lines
    return [re.sub(r"^(\S.*?) {2,}", r"- `\1`: ", line) if line[0] != " " else f"  {line.strip()}" for line in lines]


def _models(annotation: object) -> list[type[BaseModel]]:
    """The models that an annotation names, itself or inside unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inside = typing.get_args(annotation) if not isinstance(annotation, types.GenericAlias) else annotation.__args__
    return [model for part in inside for model in _models(part)]


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _default(field: FieldInfo, held: list[type[BaseModel]]) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True) or PydanticUndefined
    if value is PydanticUndefined or (held and value is not None and not isinstance(value, dict)):
        return "see below"
    text = "null" if value is None else _cell(str(value))
    if len(text) > 60:
        return "see below" if held else "see the code"
    return f"`{text}`"


PAGES = {
    "architecture.md": architecture_page,
    "configuration.md": configuration_page,
    "measurements.md": measurements_page,
    "truth.md": truth_page,
}
"""Pages of which a part is made, by what makes it."""


def main() -> None:
    """Write the pages."""
    (DOCS / "tables.md").write_text(tables_page())
    for name, made in PAGES.items():
        page = DOCS / name
        page.write_text(made(page.read_text()))


if __name__ == "__main__":
    main()
