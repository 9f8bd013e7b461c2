"""The table `features` of the catalog: what every feature of any table is, taken apart from its name.

A comment on each of some thousand columns would say the same thing thousands of times, and takes DuckDB a minute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import polars as pl

from morpho_assets.lake.tables import ANNOTATION, COMPARTMENTS, FURTHER, MODULES, Column, Family, Table, has_prefix

FEATURES = Table(
    "features", "plate",
    "One row per feature that some table has as a column: which object, module, stain and setting its name tells.",
    ("feature",),
    (
        Column("feature", pl.String, "the column"),
        Column("compartment", pl.String, "Nuclei, Cells, Cytoplasm or other objects; null for what is of none"),
        Column("module", pl.String, "CellProfiler's module, or the kind of feature"),
        Column("measurement", pl.String, "what is measured; null where the module measures one thing"),
        Column("channels", pl.List(pl.String), "stains that the name tells, in its order; empty for shapes"),
        Column("parameters", pl.String, "what else the name tells: scale, direction, ring; null for nothing"),
        Column("meaning", pl.String, "what it is, and where that is described"),
        Column("tables", pl.List(pl.String), "the tables that have it"),
    ),
)  # fmt: skip


def family_of(table: Table, column: str) -> Family | None:
    """The family by which a table has a feature; None for a declared column and for annotation."""
    if any(each.name == column for each in table.columns):
        return None
    last = sorted(table.families, key=lambda each: each == FURTHER)  # any name at all before a module's
    found = next((each for each in last if has_prefix(column, [each.prefix])), None)
    return None if found == ANNOTATION else found


def feature_table(
    columns: Mapping[str, Iterable[str]], tables: Sequence[Table], channels: Collection[str]
) -> pl.DataFrame:
    """Rows of `FEATURES` for tables with these columns, by name; `channels` are the names of stains that there are."""
    families: dict[str, Family] = {}
    having: dict[str, list[str]] = {}
    for table in tables:
        for column in columns.get(table.name, ()):
            if family := family_of(table, column):
                families.setdefault(column, family)
                having.setdefault(column, []).append(table.name)
    rows = [
        (*_taken_apart(name, families[name], channels), families[name].meaning, having[name]) for name in sorted(having)
    ]
    return pl.DataFrame(rows, schema=FEATURES.schema, orient="row")


def _taken_apart(
    name: str, family: Family, channels: Collection[str]
) -> tuple[str, str | None, str, str | None, list[str], str | None]:
    """`Nuclei_Texture_Entropy_RNA_5_02_256` is Nuclei, Texture, Entropy, [RNA], 5_02_256."""
    parts, compartment = name.split("_"), None
    if family in COMPARTMENTS:
        at = next((at for at, part in enumerate(parts) if at and part in MODULES), 1)
        compartment, parts = "_".join(parts[:at]), parts[at:]
    module, (stains, rest) = parts[0], _stains(parts[1:], channels)
    words = next((at for at, part in enumerate(rest) if part[:1].isdigit()), len(rest))
    measurement, parameters = "_".join(rest[:words]), "_".join(rest[words:])
    return name, compartment, module, measurement or None, stains, parameters or None


def _stains(parts: Sequence[str], channels: Collection[str]) -> tuple[list[str], list[str]]:
    """The stains among the parts of a name, in their order, and the parts that are of none."""
    stains: list[str] = []
    rest: list[str] = []
    longest_first = sorted((channel.split("_") for channel in channels), key=len, reverse=True)
    at = 0
    while at < len(parts):
        words = next((each for each in longest_first if each == list(parts[at : at + len(each)])), None)
        if words is None:
            rest.append(parts[at])
        else:
            stains.append("_".join(words))
        at += 1 if words is None else len(words)
    return stains, rest
