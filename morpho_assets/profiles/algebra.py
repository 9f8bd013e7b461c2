"""A space made: its list of steps over the rows of its source, and what each step was fitted on.

Rows of single cells are streamed: each step is a function of one plate's rows, made anew whenever they are asked for,
so that memory is that of one plate. What is fitted on all plates sees them one after the other: components from sums of
products (exact), a selection on a sample. From the first aggregation on the rows of all plates are held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.profiles.aggregate import CELL_COUNT, aggregate
from morpho_assets.profiles.corrected import Corrected
from morpho_assets.profiles.features import complete_matrix, feature_columns, to_matrix
from morpho_assets.profiles.normalize import NORMALIZED_ON, normalize
from morpho_assets.profiles.pca import Moments
from morpho_assets.profiles.recipe import DROPPED, Step, apply_step
from morpho_assets.profiles.rows import CONDITIONS, rows_where
from morpho_assets.profiles.select import SelectConfig, select_features
from morpho_assets.profiles.space import KEYS, OtherSpace, SpaceConfig, SpaceStep, source_of
from morpho_assets.profiles.space_rows import SpaceRows, annotated
from morpho_assets.profiles.subset import subset

SAMPLE = 20_000
"""Rows, evenly from all plates, on which a selection of single cells is judged."""


@dataclass
class Told:
    """What a step was fitted on: the condition (None: it fits nothing) and, by plate, how many rows held it. `notes`
    are sentences; `dropped` has rows of DROPPED. Of streamed rows the counts come when the rows have gone through."""

    fitted_on: str | None = None
    fitted: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    dropped: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DROPPED))


@dataclass(frozen=True)
class Made:
    """A space after its list: `rows` of wells or sites with every value, `steps` as rows of the table `space_steps`,
    what was left out, as rows of DROPPED, and sentences on its source."""

    rows: SpaceRows
    steps: pl.DataFrame
    dropped: pl.DataFrame
    source_notes: tuple[str, ...]

    @property
    def frame(self) -> pl.DataFrame:
        """The rows of all plates."""
        return self.rows.all()


def make_space(name: str, config: SpaceConfig, rows: SpaceRows, made: Mapping[str, Made], seed: int = 0) -> Made:
    """The space `name`: the steps of its list over `rows`; `made` are the spaces that it joins.

    In the end rows without any value are left out (wells without cells), then features that some row lacks, which is
    said in `dropped`. InputError as of the steps, naming the space and the step.
    """
    about, told = rows.notes, [Told()]
    marks: list[tuple[str, str, int]] = [(source_of(config), rows.level, len(rows.features))]
    for number, step in enumerate(config.as_steps, start=1):
        level, account = rows.level, Told()
        try:
            rows = _STEPS.get(step.kind, _applied)(rows, step, account, made, _block(name, config), seed)
        except InputError as error:
            where = f"space {name}, step {number} ({step.name}): {error.file}"
            raise InputError("spaces", f"{where}, {error.where}", error.found, error.expected, error.do) from error
        told.append(account)
        marks.append((step.name, level if level == rows.level else f"{level} to {rows.level}", len(rows.features)))
    frame, incomplete = _complete(rows.all(), rows.features)
    rows = rows.held(frame, features=tuple(each for each in rows.features if each in frame.columns))
    dropped = pl.concat([*(each.dropped for each in told), incomplete]).unique(
        "feature", keep="first", maintain_order=True
    )
    return Made(rows, _table(marks, told), dropped, about)


def _table(marks: Sequence[tuple[str, str, int]], told: Sequence[Told]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "number": number, "step": step, "level": level, "fitted_on": each.fitted_on,
                "rows_fitted": sum(each.fitted.values()) if each.fitted_on else None, "features": features,
                "note": "; ".join([*each.notes, *_counted(each.left_out)]) or None,
            }
            for number, ((step, level, features), each) in enumerate(zip(marks, told, strict=True))
        ],
        schema={"number": pl.Int32, "step": pl.String, "level": pl.String, "fitted_on": pl.String,
                "rows_fitted": pl.Int64, "features": pl.Int32, "note": pl.String},
    )  # fmt: skip


def _counted(left_out: Mapping[str, int]) -> list[str]:
    total = sum(left_out.values())
    return [f"{total:,} rows with a missing value left out"] if total else []


def _block(name: str, config: SpaceConfig) -> str:
    """What the own features of a space are called where others join them."""
    return config.space if isinstance(config, OtherSpace) else name


def _complete(frame: pl.DataFrame, features: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with any value and the features that all of them have; and the features left out."""
    frame = frame.filter(pl.any_horizontal(pl.col(list(features)).is_not_null()))
    missing = [name for name in features if frame[name].null_count()]
    if len(missing) == len(features):
        raise InputError("spaces", "features", f"{len(features)} features, each missing in some row",
                         "features that every row has", "Select with drop_na_columns, or aggregate first.")  # fmt: skip
    dropped = {"feature": missing, "operation": "drop_na_columns", "value": None}
    return frame.drop(missing), pl.DataFrame(dropped, schema=DROPPED)


def _subset(rows: SpaceRows, step: SpaceStep, told: Told, *_: Any) -> SpaceRows:
    assert step.subset is not None
    kept = subset(rows.features, step.subset)
    gone = set(rows.features) - set(kept)
    before = rows.rows
    return replace(rows, rows=lambda plate: before(plate).drop(gone), features=tuple(kept))


def _aggregate(rows: SpaceRows, step: SpaceStep, told: Told, *_: Any) -> SpaceRows:
    config = step.aggregate
    assert config is not None
    told.notes.append(config.method if config.site_method is None else f"{config.site_method}, then {config.method}")
    if config.to == "treatment":
        told.notes.append(f"by {', '.join(config.by)}, after the study's corrections")
        return rows
    frames = []
    for plate in rows.plates:
        lazy = rows.rows(plate)
        found = aggregate(lazy, KEYS[config.to], config, rows.features)
        if config.to == "well" or rows.level != "cell":
            found = found.drop(CELL_COUNT)  # of the well it is known
        if NORMALIZED_ON in lazy.collect_schema().names():
            found = found.join(lazy.select(pl.col(NORMALIZED_ON).first()).collect(), how="cross")
        frames.append(annotated(found.lazy(), rows.wells).collect())
    frame = pl.concat(frames, how="diagonal_relaxed")
    names = set(frame.columns)
    spreads = [f"{name}_MAD" for name in rows.features if f"{name}_MAD" in names] if config.spread else []
    return rows.held(frame, config.to, (*rows.features, *spreads))


def _normalize(rows: SpaceRows, step: SpaceStep, told: Told, *others: Any) -> SpaceRows:
    config = step.normalize
    assert config is not None
    told.fitted_on = f"{config.reference}, each plate by itself"
    if not rows.streamed:
        return _applied(rows, step, told, *others)
    before, features = rows.rows, rows.features

    def scaled(plate: str) -> pl.LazyFrame:
        lazy = before(plate)
        names = lazy.collect_schema().names()
        frame = _with_columns_of(lazy, rows.wells, config.reference, *config.plate).collect()
        told.fitted[plate] = int(rows_where(frame, config.reference).sum())
        others = [name for name in frame.columns if name not in set(features)]
        blocks = [
            normalize(frame.select(*others, *block), config, block).with_columns(pl.col(block).cast(pl.Float32))
            for block in _blocks(features)
        ]
        on = blocks[0][NORMALIZED_ON]
        joined = pl.concat([frame.select(others), *(b.drop(*others, NORMALIZED_ON) for b in blocks)], how="horizontal")
        return joined.with_columns(on).select(*dict.fromkeys([*names, NORMALIZED_ON])).lazy()

    return replace(rows, rows=scaled)


def _select(rows: SpaceRows, step: SpaceStep, told: Told, *others: Any) -> SpaceRows:
    config = step.select
    assert config is not None
    told.fitted_on = config.among
    if not rows.streamed:
        return _applied(rows, step, told, *others)
    rng = np.random.default_rng(others[-1])
    samples, total = [], 0
    for plate in rows.plates:
        frame = _with_columns_of(rows.rows(plate), rows.wells, config.among, *_group_columns(config)).collect()
        total += frame.height
        size = min(frame.height, SAMPLE // len(rows.plates))
        samples.append(frame[np.sort(rng.choice(frame.height, size, replace=False))])
        told.fitted[plate] = int(rows_where(samples[-1], config.among).sum())
    sample = pl.concat(samples, how="diagonal_relaxed")
    if sample.height < total:
        told.notes.append(f"judged on a sample of {sample.height:,} of {total:,} {rows.level}s")
    selection = select_features(sample, config, rows.features)
    told.dropped = selection.dropped.select(*DROPPED)
    before, gone = rows.rows, selection.dropped["feature"].to_list()
    return replace(rows, rows=lambda plate: before(plate).drop(gone), features=selection.kept)


def _reduce(rows: SpaceRows, step: SpaceStep, told: Told, *others: Any) -> SpaceRows:
    config = step.reduce
    assert config is not None
    told.fitted_on = config.reference
    if not rows.streamed:
        return _applied(rows, step, told, *others)
    before, features, moments = rows.rows, rows.features, Moments()
    for plate in rows.plates:
        frame = _with_columns_of(before(plate), rows.wells, config.reference).collect()
        whole = _whole(frame, features, plate)
        told.left_out[plate] = frame.height - whole.height
        chosen = rows_where(whole, config.reference)
        told.fitted[plate] = int(chosen.sum())
        for rows_at_once in _parts(whole if chosen.all() else whole.filter(chosen)):
            moments.add(to_matrix(rows_at_once, features))
    if moments.count < 2:
        raise InputError("profiles", "reduce", f"{moments.count} rows where {config.reference}", "at least 2",
                         "Fit on other rows with `reference`.")  # fmt: skip
    found = moments.components(config)
    told.notes.append(found.note)

    def turned(plate: str) -> pl.LazyFrame:
        whole = _whole(before(plate).collect(), features, plate)
        none = np.empty((0, len(found.names)), np.float32)
        parts = (found(to_matrix(part, features)).astype(np.float32) for part in _parts(whole))
        scores = np.concatenate([none, *parts])
        return whole.drop(features).hstack(pl.DataFrame(scores, schema=list(found.names), orient="row")).lazy()

    return replace(rows, rows=turned, features=found.names)


def _join(rows: SpaceRows, step: SpaceStep, told: Told, made: Mapping[str, Made], own: str, seed: int) -> SpaceRows:
    """The own block and those of the other spaces, each at one length, over the rows that all of them have."""
    assert step.join is not None
    keys = KEYS[rows.level]
    frame, told.dropped = _complete(rows.all(), rows.features)
    height = frame.height
    features = [name for name in rows.features if name in frame.columns]
    for name in step.join.spaces:
        frame = frame.join(made[name].frame.select(keys), on=keys, how="semi", maintain_order="left")
    if frame.height < height:
        told.notes.append(f"{height - frame.height} of {height} {rows.level}s are not in every space")
    told.fitted_on, told.fitted = "all", {"all": frame.height}
    blocks = [(own, frame.select(features))]
    for name in step.join.spaces:
        other = made[name]
        there = frame.select(keys).join(other.frame, on=keys, how="left", maintain_order="left")
        blocks.append((name, there.select(other.rows.features)))
    joined = [_at_one_length(name, block) for name, block in blocks]
    told.notes.append("; ".join(f"{name}: {block.width} features, weight 1" for name, block in blocks))
    result = pl.concat([frame.drop(features), *joined], how="horizontal")
    return rows.held(result, features=tuple(feature_columns(result, ("Joined_",))))


def _at_one_length(name: str, block: pl.DataFrame) -> pl.DataFrame:
    """A block whose rows have the mean square 1, its features named after it."""
    values = complete_matrix(block, block.columns, "join")
    length = float(np.sqrt((values**2).sum(axis=1).mean())) if len(values) else 0.0
    if length == 0:
        raise InputError("spaces", f"join of {name}", f"{block.height} rows of zeros", "rows that say something",
                         "Leave the space out.")  # fmt: skip
    return pl.DataFrame(values / length, schema=[f"Joined_{name}_{each}" for each in block.columns], orient="row")


def _applied(rows: SpaceRows, step: SpaceStep, told: Told, made: Mapping[str, Made], own: str, seed: int) -> SpaceRows:
    """A step of a recipe, over the rows of all plates."""
    frame = rows.all()
    condition = next((getattr(step.config, key) for key in ("reference", "among") if hasattr(step.config, key)), "all")
    told.fitted_on = told.fitted_on or condition
    told.fitted = {"all": int(rows_where(frame, condition).sum())}
    plain = Step.model_validate({step.kind: step.config})
    state, told.dropped = apply_step(Corrected(frame, rows.features), plain, seed)
    told.notes += state.notes
    return rows.held(state.profiles, features=state.features)


_STEPS: dict[str, Callable[..., SpaceRows]] = {
    "subset": _subset,
    "aggregate": _aggregate,
    "normalize": _normalize,
    "select": _select,
    "reduce": _reduce,
    "join": _join,
}
"""Steps that are more than a step of a recipe: those that see streamed rows, change their level, or other spaces."""


def _blocks(features: Sequence[str], width: int = 64) -> list[list[str]]:
    """The features in blocks: a plate of cells is in memory once, and a block of it in float64."""
    return [list(features[start : start + width]) for start in range(0, len(features), width)]


def _parts(frame: pl.DataFrame, height: int = 16_384) -> Iterator[pl.DataFrame]:
    """The rows in parts, likewise."""
    for start in range(0, frame.height, height):
        yield frame[start : start + height]


def _with_columns_of(lazy: pl.LazyFrame, wells: pl.DataFrame, condition: str, *columns: str) -> pl.LazyFrame:
    """Rows with the annotation that a condition and `columns` name, as far as the wells have it."""
    there = set(lazy.collect_schema().names())
    named = pl.sql_expr(CONDITIONS.get(condition, condition)).meta.root_names()
    wanted = [name for name in dict.fromkeys((*named, *columns)) if name in wells.columns and name not in there]
    if not wanted:
        return lazy
    return lazy.join(wells.lazy().select(*KEYS["well"], *wanted), on=KEYS["well"], how="left", maintain_order="left")


def _group_columns(config: SelectConfig) -> list[str]:
    """Columns of the annotation that the rules of a selection name."""
    return [name for rule in config.operations for key in ("group", "plate") for name in getattr(rule, key, ())]


def _whole(frame: pl.DataFrame, features: Sequence[str], plate: str) -> pl.DataFrame:
    """The rows without a missing value. InputError where a plate has none."""
    known = frame.select(pl.all_horizontal(pl.col(list(features)).is_finite().fill_null(False))).to_series()
    whole = frame if known.all() else frame.filter(known)
    if frame.height and not whole.height:
        counts = {name: frame[name].null_count() for name in features}
        worst = sorted(features, key=lambda name: -counts[name])[:3]
        raise InputError("profiles", f"plate {plate}", f"no row with every feature (missing most: {', '.join(worst)})",
                         "rows without missing values", "Select with drop_na_columns before, or normalise with "
                         "`flat: zero`.")  # fmt: skip
    return whole
