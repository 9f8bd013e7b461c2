"""CellProfiler's tables of objects joined to one row per cell, through the parents that it recorded.

Any set of compartments: cells alone, nuclei and cells, nucleoli besides. The cell is `Cells`, or what there is of
Nuclei, Cytoplasm and the others, in this order. The three are one to one: a cell that lacks one of those that were
exported is left out, and counted. Of other objects a cell may have none or several: null, or their mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.account import Account, as_numbers
from morpho_assets.gallery.image_table import IMAGE_KEYS, CellProfilerConfig, key_texts
from morpho_assets.lake.tables import COMPARTMENTS, has_prefix

PREFIXES = tuple(family.prefix for family in COMPARTMENTS)
CELL = ("Cells", "Nuclei", "Cytoplasm")
"""Compartments that are one to one, and which of them is the cell."""
NUMBERS = ("ObjectNumber", "Number_Object_Number")
"""What CellProfiler calls the number of an object within its image."""
_NO_MEASUREMENT = ("Metadata_", "FileName_", "PathName_", "URL_", "Image_")
_NUMBER, _CELL = "number", "cell"


@dataclass(frozen=True)
class Objects:
    """One compartment: a row per object with its image keys, `number`, a column per parent (its name) and features."""

    rows: pl.DataFrame
    features: list[str]
    parents: list[str]


def choose(names: Iterable[str], config: CellProfilerConfig) -> tuple[dict[str, str], dict[str, str]]:
    """Objects by their name in the pipeline to the compartment they are here; and those left out, with the reason.

    Raises InputError where two are for one compartment.
    """
    names = list(names)
    taken = {to for name, to in config.compartments.items() if to and name in names}
    chosen, left_out = {}, {}
    for name in names:
        whole = next((other for other in (*names, *CELL) if other != name and name.startswith(f"{other}_")), None)
        if name in config.compartments:
            if (to := config.compartments[name]) is None:
                left_out[name] = "as the settings say"
            else:
                chosen[name] = to
        elif name in taken:
            left_out[name] = f"other objects are {name}, as the settings say"
        elif whole in names:
            left_out[name] = (
                f"its columns could not be told from those of {whole}; name it in `compartments` to choose it"
            )
        else:
            chosen[name] = name
    if len(set(chosen.values())) < len(chosen):
        twice = next(to for to in chosen.values() if list(chosen.values()).count(to) > 1)
        found = f"{', '.join(name for name, to in chosen.items() if to == twice)} for {twice}"
        raise InputError("compartments", twice, found, "one", "Leave the others out, with null.")
    return chosen, left_out


def feature_names(columns: Iterable[str], name: str, compartment: str) -> dict[str, str]:
    """The measurements among the columns of the objects `name`, by their column: the name they have here."""
    bare = {column: column.removeprefix(f"{name}_") for column in columns if column not in IMAGE_KEYS}
    return {
        column: f"{compartment}_{rest}"
        for column, rest in bare.items()
        if rest and rest not in NUMBERS and not rest.startswith(("Parent_", *_NO_MEASUREMENT))
    }


def expected_features(columns: Mapping[str, Sequence[str]], config: CellProfilerConfig) -> dict[str, list[str]]:
    """By compartment, the features of cells to expect of objects (by name) with these `columns`: of those that recorded
    parents connect with the cells, as far as names tell, and of all cells, nuclei and cytoplasms."""
    chosen, _ = choose(columns, config)
    parents = {to: _parents(columns[name], name, chosen, config) for name, to in chosen.items()}

    def linked(child: str, parent: str) -> bool:
        return any(said.lower().endswith(parent.lower()) for said in parents[child])

    reached = [name for name in (_root(parents),) if name]
    for near in reached:  # grows while it is walked
        reached += [name for name in parents if name not in reached and (linked(name, near) or linked(near, name))]
    return {
        to: [one for one in feature_names(columns[name], name, to).values() if has_prefix(one, PREFIXES)]
        for name, to in chosen.items()
        if to in (*reached, *CELL)
    }


def align(cells: pl.DataFrame, features: Sequence[str], account: Account) -> pl.DataFrame:
    """The cells with the `features` in their order; those that they lack are null, and told."""
    there, known = set(cells.columns), set(features)
    lacking = [name for name in features if name not in there]
    if lacking:
        account.lacking.update(lacking)
        cells = cells.with_columns(pl.lit(None, pl.Float64).alias(name) for name in lacking)
    account.count(cells, features)
    return cells.select([*(name for name in cells.columns if name not in known), *features])


def link_objects(
    images: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    config: CellProfilerConfig | None = None,
    account: Account | None = None,
    file: object = "",
) -> pl.DataFrame:
    """One row per cell: site keys, ObjectNumber, then features by compartment.

    `images` as of `image_places`; `tables` by the name of the objects. Objects are joined through the parents that
    CellProfiler recorded, within the image. Numbers of objects, images and parents are not features and are left out;
    every feature is Float64, and null where there is no finite number. InputError naming the table that lacks the
    numbers of its objects or the parents that lead to the cells.
    """
    config, account = config or CellProfilerConfig(), account or Account()
    chosen, left_out = choose(tables, config)
    account.left_out.update(left_out)
    keys = [key for key in IMAGE_KEYS if key in images.columns and all(key in tables[name].columns for name in chosen)]
    _require_keys(images, keys, file)
    _require_known(config, tables)
    parents = {to: _parents(tables[name].columns, name, chosen, config) for name, to in chosen.items()}
    found = {to: _objects(tables[name], name, to, keys, parents[to], account) for name, to in chosen.items()}
    root = _root(found)
    if root is None:
        shown = ", ".join(tables) or "no table of objects"
        raise InputError(file, "", shown, "Cells, Nuclei or other objects", "Export the objects with the Image table.")
    links = _lead_to(root, found, keys)
    for name in sorted(set(found) - set(links)):
        if name in CELL:
            _refuse_unlinked(name, root, found)
        account.left_out[name] = f"no recorded parent leads from {name} to {root}"
    cells = found[root].rows.select(*keys, pl.col(_NUMBER).alias(_CELL), *found[root].features)
    cells = images.select(*keys, *(name for name in images.columns if name not in keys)).join(
        cells, on=keys, how="inner", maintain_order="right"
    )
    whole = cells.height
    for name in in_order(set(links) - {root}):
        cells = _joined(cells, name, found[name], links[name], keys, account)
    if whole > cells.height:
        account.unlinked[root] += whole - cells.height
    described = [name for name in images.columns if name not in IMAGE_KEYS]
    features = [feature for name in in_order(links) for feature in found[name].features]
    return cells.select(*described, pl.col(_CELL).alias("ObjectNumber"), *features)


def _root(compartments: Iterable[str]) -> str | None:
    """The compartment that is the cell."""
    there = set(compartments)
    return next((name for name in (*CELL, *sorted(there)) if name in there), None)


def in_order(names: Iterable[str]) -> list[str]:
    """Compartments as a row has them: Nuclei, Cells, Cytoplasm, then others by name."""
    return sorted(names, key=_rank)


def _rank(name: str) -> tuple[int, str]:
    first = ("Nuclei", "Cells", "Cytoplasm")
    return (first.index(name) if name in first else len(first), name)


def _require_keys(images: pl.DataFrame, keys: Sequence[str], file: object) -> None:
    if not keys:
        found, todo = "tables of objects without ImageNumber", "Export ImageNumber with each table."
        raise InputError(file, "", found, "the number of the image that the objects are in", todo)
    repeated = images.filter(images.select(keys).is_duplicated())
    if repeated.height:
        found = f"image {repeated[keys[-1]][0]} in several tables, and objects without a TableNumber"
        raise InputError(file, "", found, "objects that say which table they are of", "Export TableNumber with them.")


def _require_known(config: CellProfilerConfig, tables: Mapping[str, pl.DataFrame]) -> None:
    """Raise InputError for objects in the settings that are neither a table nor a recorded parent."""
    columns = [column for frame in tables.values() for column in frame.columns]
    for name in config.compartments:
        if name not in tables and not any(column.endswith(f"Parent_{name}") for column in columns):
            found, todo = f"objects {', '.join(tables)}", "Correct `compartments`."
            raise InputError("compartments", name, found, "objects of the output, or their parents", todo)


def _parents(
    columns: Sequence[str], name: str, chosen: Mapping[str, str], config: CellProfilerConfig
) -> dict[str, str]:
    """The compartment or, where it is none, the name of each parent of the objects `name`: the column that names it.

    A parent is the compartment of the table of its name. If the settings give the compartment to another table, or the
    parent to another compartment, then so it is.
    """
    recorded = {column.removeprefix(f"{name}_").removeprefix("Parent_"): column for column in columns
                if column.removeprefix(f"{name}_").startswith("Parent_")}  # fmt: skip
    given = {config.compartments.get(parent) or "": column for parent, column in recorded.items()}
    own = {chosen[parent]: column for parent, column in recorded.items() if parent in chosen}
    others = {parent: column for parent, column in recorded.items()
              if parent not in (*chosen, *chosen.values(), *config.compartments)}  # fmt: skip
    return {parent: column for parent, column in {**others, **given, **own}.items() if parent}


def _objects(
    frame: pl.DataFrame, name: str, compartment: str, keys: Sequence[str], parents: Mapping[str, str], account: Account
) -> Objects:
    """One table with its numbers as integers and its measurements as Float64, under the names that they have here."""
    bare = {column.removeprefix(f"{name}_"): column for column in frame.columns}
    number = next((bare[word] for word in NUMBERS if word in bare), None)
    if number is None:
        todo = "Export ObjectNumber with the table."
        raise InputError(
            f"table {name}", "", "no column ObjectNumber", "the number that CellProfiler gives objects", todo
        )
    features = feature_names(frame.columns, name, compartment)
    foreign = [to for to in features.values() if not has_prefix(to, PREFIXES)]
    account.left_out.update(dict.fromkeys(foreign, "no measurement of a module of CellProfiler's"))
    features = {column: to for column, to in features.items() if to not in foreign}
    if any(column in ("", f"{name}_") and frame[column].count() for column in frame.columns):
        account.left_out[f"{name}, a column without a name"] = "nobody can say what it measures"
    whole = {number: _NUMBER, **{column: parent for parent, column in parents.items()}}
    values, odd = as_numbers(frame, [*whole, *features])
    account.text.update({features[column]: text for column, text in odd.items() if column in features})
    columns = [key_texts(frame[key]) for key in keys]
    columns += [_whole(values[column]).alias(to) for column, to in whole.items()]
    numbered = pl.DataFrame([*columns, *(values[column].alias(to) for column, to in features.items())])
    if nameless := numbered[_NUMBER].null_count():
        account.unlinked[compartment] += nameless
        numbered = numbered.drop_nulls(_NUMBER)
    twice = numbered.filter(numbered.select(*keys, _NUMBER).is_duplicated())
    if twice.height:
        where = ", ".join(f"{key} {twice[key][0]}" for key in keys)
        found, todo = f"object {twice[_NUMBER][0]} twice", "Export each image once, or with a TableNumber."
        raise InputError(f"table {name}", where, found, "every object once", todo)
    return Objects(numbered, list(features.values()), list(parents))


def _whole(numbers: pl.Series) -> pl.Series:
    """As integers; null where a number is none, as of a damaged row."""
    integers = numbers.cast(pl.Int64, strict=False)
    return integers.set(integers.cast(pl.Float64) != numbers, None)


def _lead_to(root: str, found: Mapping[str, Objects], keys: Sequence[str]) -> dict[str, pl.DataFrame]:
    """For every compartment that parents connect with the root: image keys, `number` of its object, `cell` of the root.

    The shortest way is taken. A parent under another name than a table's stands for the table whose name it ends with,
    where their numbers are the same.
    """
    named = {name: _named(name, found, keys) for name in found}
    links = {root: found[root].rows.select(*keys, _NUMBER, pl.col(_NUMBER).alias(_CELL))}
    reached = [root]
    for near in reached:  # grows while it is walked
        for name in in_order(set(found) - set(links)):
            if near in named[name].columns:
                way = named[name].select(*keys, _NUMBER, pl.col(near).alias("through"))
                way = way.join(links[near], left_on=[*keys, "through"], right_on=[*keys, _NUMBER], how="inner")
            elif name in named[near].columns:
                way = named[near].select(*keys, _NUMBER, pl.col(name).alias("through"))
                way = way.join(links[near], on=[*keys, _NUMBER], how="inner").drop(_NUMBER).rename({"through": _NUMBER})
            else:
                continue
            links[name] = way.select(*keys, _NUMBER, _CELL)
            reached.append(name)
    return links


def _named(name: str, found: Mapping[str, Objects], keys: Sequence[str]) -> pl.DataFrame:
    """Keys, number and parents of a table; parents of no table under the name of the one that they must be."""
    parents = found[name].parents
    links = found[name].rows.select(*keys, _NUMBER, *parents)
    for parent in set(parents) - set(found):
        same = [to for to in found if to != name and to not in parents and parent.lower().endswith(to.lower())]
        if len(same) == 1 and same[0] not in links.columns and _same_numbers(links, parent, found[same[0]].rows, keys):
            links = links.rename({parent: same[0]})
    return links


def _same_numbers(links: pl.DataFrame, parent: str, objects: pl.DataFrame, keys: Sequence[str]) -> bool:
    """Whether in each image the largest parent is the largest number of the objects: none was left out before the
    others were numbered anew, so the two are numbered alike."""
    parents = links.filter(pl.col(parent) > 0).group_by(keys).agg(pl.col(parent).max().alias("parent"))
    numbers = objects.group_by(keys).agg(pl.col(_NUMBER).max())
    both = parents.join(numbers, on=keys, how="full")
    return both.filter(pl.col("parent").ne_missing(pl.col(_NUMBER))).is_empty()


def _refuse_unlinked(name: str, root: str, found: Mapping[str, Objects]) -> None:
    """Raise InputError for cells, nuclei and cytoplasms that no parent connects."""
    child, parent = (root, name) if name == "Nuclei" else (name, root)
    said = ", ".join(f"Parent_{other}" for other in found[child].parents)
    seen = f"no column Parent_{parent}" + (f" but {said}" if said else "")
    todo = f"Export Parent_{parent} with the table" + (
        f", or say which objects these are in `compartments` ({found[child].parents[0]}: {parent})." if said else "."
    )
    raise InputError(f"table {child}", "", seen, f"the number of the object of {parent}", todo)


def _joined(
    cells: pl.DataFrame, name: str, objects: Objects, link: pl.DataFrame, keys: Sequence[str], account: Account
) -> pl.DataFrame:
    """The cells with the measurements of one more compartment."""
    place = [*keys, _CELL]
    mine = link.unique(maintain_order=True).join(
        objects.rows.select(*keys, _NUMBER, *objects.features), on=[*keys, _NUMBER], how="inner"
    )
    several = mine.filter(mine.select(place).is_duplicated()).select(place).n_unique() if mine.height else 0
    if several:
        account.several[name] += several
        mine = mine.group_by(place, maintain_order=True).agg(pl.col(objects.features).mean())
    alone = objects.rows.select(*keys, _NUMBER).join(link, on=[*keys, _NUMBER], how="anti").height
    if alone:
        account.unlinked[name] += alone
    how = "inner" if name in CELL else "left"
    return cells.join(mine.select(*place, *objects.features), on=place, how=how, maintain_order="left")  # type: ignore[arg-type]
