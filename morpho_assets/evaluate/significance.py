"""What the treatments of a question would score if nothing acted: by exchange, by random rankings, by running anew."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import NothingLeft
from morpho_assets.evaluate.asked import Asked
from morpho_assets.evaluate.average_precision import Candidates, plate_codes
from morpho_assets.evaluate.baselines import shuffled_before
from morpho_assets.evaluate.chance import Null, ranking_null
from morpho_assets.evaluate.exchange import Blocks, Field, Group, exchange_nulls
from morpho_assets.evaluate.folds import places
from morpho_assets.evaluate.pairs import PairRule, label_sets, pairing
from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.rows import rows_where


def treatment_nulls(asked: Asked, table: pl.DataFrame, seed: int) -> list[tuple[float, Null]]:
    """Of each row of `asked.treatments()` its mAP (of the part that is tested) and its null."""
    if asked.config.pairing == "published":
        return _of_rankings(asked, table, seed)
    if asked.refit is not None and asked.refit.reads_labels:
        return _of_reruns(asked, asked.refit, table, seed)
    return _of_exchanges(asked, table, seed)


def _of_rankings(asked: Asked, table: pl.DataFrame, seed: int) -> list[tuple[float, Null]]:
    config = asked.config
    kinds = [[(int(r["n_positives"]), int(r["n_total"])) for r in rankings] for rankings in table["rankings"]]
    nulls = [ranking_null(kind, config.null_size, config.exact_limit, seed, config.strict_ties) for kind in kinds]
    return list(zip(table["mAP"], nulls, strict=True))


def _of_reruns(asked: Asked, refit: Refit, table: pl.DataFrame, seed: int) -> list[tuple[float, Null]]:
    """All steps from the first that reads treatments on are run anew, with treatments shuffled before it: what such a
    step does to replicates it does to these too. Treatments with as many replicates and candidates share their nulls,
    so that few runs give many values. A run of which nothing is left scores what chance gives."""
    pools: dict[tuple[float, ...], list[float]] = {}
    for run in range(asked.config.reruns):
        try:
            profiles, features, again = shuffled_before(asked.profiles, (), refit, seed + run)
        except NothingLeft:
            scored = table.with_columns(mAP="chance")
        else:
            scored = Asked.of(profiles, features, asked.config, seed, again).treatments()
        for sizes, score in zip(_sizes(scored), scored["mAP"], strict=True):
            pools.setdefault(sizes, []).append(score)
    nulls = {sizes: Null(np.sort(scores), False) for sizes, scores in pools.items()}
    none = Null(np.zeros(0), False)
    return [(score, nulls.get(sizes, none)) for score, sizes in zip(table["mAP"], _sizes(table), strict=True)]


def _sizes(table: pl.DataFrame) -> list[tuple[float, ...]]:
    """Of each row of `Asked.treatments` its queries, positives and candidates."""
    return [tuple(np.round(row, 6)) for row in table.select("n_profiles", "n_positives", "n_total").iter_rows()]


def _of_exchanges(asked: Asked, table: pl.DataFrame, seed: int) -> list[tuple[float, Null]]:
    """Treatments that are ranked in folds are exchanged apart, and tested by what they score there: two profiles are
    compared on a scale that neither has made, so that any two may change places. Their mAP, each fold on a scale of its
    own, varies less than exchanges do, which would hide effects."""
    config, folds = asked.config, asked.folds
    candidates = asked.candidates(table)
    whole = _field(asked)
    fields = {False: whole}
    if folds is not None:
        apart = partial(folds.apart, kind=config.similarity, block_bytes=_block_bytes(asked))
        fields[True] = replace(whole, fold=folds.number, folds=folds.count, similar=apart)
    nulls: dict[int, tuple[float, Null]] = {}
    for in_folds, field in fields.items():
        numbers = np.flatnonzero(table["folded"].to_numpy() == in_folds).tolist()
        groups = [_group(candidates[number], field.rival, table["row"][number].to_numpy()) for number in numbers]
        scores = table["mAP"].to_numpy()[numbers].tolist()
        found = exchange_nulls(groups, scores, field, config.null_size, config.exact_limit, seed)
        nulls |= dict(zip(numbers, found, strict=True))
    return [nulls[number] for number in range(table.height)]


def _group(candidates: Candidates, rival: npt.NDArray[np.bool_], queries: npt.NDArray[np.intp]) -> Group:
    """The profiles that have a part in the mAP of `queries`: these, their positives, and rivals that some of them leave
    out, as treatments with another label in common."""
    positive, negative = candidates.masks(queries)
    taking_part = positive.copy()
    taking_part[np.arange(len(queries)), queries] = True
    if candidates.negatives.labels is not None:
        taking_part |= rival & ~negative
    members = np.flatnonzero(taking_part.any(axis=0))
    relation = np.zeros((members.size, members.size), dtype=np.int64)
    relation[np.searchsorted(members, queries)] = positive[:, members].astype(np.int64) - negative[:, members]
    return Group(members, np.isin(members, queries), relation)


def _field(asked: Asked) -> Field:
    """What all groups exchange within. Rules on what a treatment determines do not follow a well that takes the place
    of another; those on other columns do."""
    profiles, config, rule = asked.profiles, asked.config, asked.config.rivals
    own = {*config.group, *config.positives.sameby, rule.multilabel}
    kept = {name: tuple(c for c in getattr(rule, name) if c not in own) for name in ("sameby", "diffby")}
    other = pairing(profiles, PairRule(**kept)) if any(kept.values()) else None
    named = [pl.col(name).is_null() for name in (*rule.sameby, *rule.diffby) if name != rule.multilabel]
    unnamed = profiles.select(pl.any_horizontal(pl.lit(False), *named).alias("unnamed")).to_series()
    rival = rows_where(profiles, rule.where).to_numpy() & ~unnamed.new_from_index(0, profiles.height).to_numpy()
    if rule.multilabel is not None:
        rival = rival & label_sets(profiles[rule.multilabel], rule.separator)[0].any(axis=1)
    candidates = Candidates.of(profiles, config)

    def similar(columns: npt.NDArray[np.intp]) -> Blocks:
        rows = np.arange(columns.size)
        return similarity_blocks(asked.matrix[columns], rows, config.similarity, _block_bytes(asked))

    def allowed(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        return np.ones((rows.size, columns.size), dtype=bool) if other is None else other.mask(rows)[:, columns]

    return Field(
        plate_codes(profiles, config), rival, np.zeros(profiles.height, dtype=np.int64), 1, places(profiles), similar,
        allowed, lambda rows, columns: candidates.near(rows)[:, columns],
    )  # fmt: skip


def _block_bytes(asked: Asked) -> int:
    return int(asked.config.block_mb * 1e6) // 8  # beside each similarity stand its order and its counts
