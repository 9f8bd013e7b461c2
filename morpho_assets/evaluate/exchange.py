"""p-values by exchange: a group's wells change places with their rivals on the same plate, similarities stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb, prod

import numpy as np
import numpy.typing as npt

from morpho_assets.evaluate.chance import Null, random_ranks

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Similarity = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Blocks = Iterator[tuple[Rows, Similarity]]

MOST_MEMBERS = 32  # of a group that are exchanged: cost grows with the third power
MOST_RIVALS = 4096  # of a group; memory grows with the wells of its plates


@dataclass(frozen=True)
class Group:
    """Profiles with one mAP: row numbers (t,), which of them are queries (t,), and what each is to each as a query
    (t, t): 1 a positive, 0 left out, -1 a rival like others."""

    members: Rows
    asks: Flags
    relation: npt.NDArray[np.int64]

    def part(self, kept: Flags) -> Group:
        return Group(self.members[kept], self.asks[kept], self.relation[np.ix_(kept, kept)])


@dataclass(frozen=True)
class Field:
    """What n profiles exchange within. (n,) each: the code of the plate; whether a profile is a rival, and of which
    fold 0 … `folds` - 1; its place in an order that does not depend on the rows. `similar(columns)` yields blocks
    (positions in columns, (block, columns) similarity); `allowed(rows, columns)` and `near(rows, columns)` say which
    may be rivals of a query by other rules than plates, and which may be its candidates at all."""

    plate: npt.NDArray[np.int64]
    rival: Flags
    fold: npt.NDArray[np.int64]
    folds: int
    place: npt.NDArray[np.int64]
    similar: Callable[[Rows], Blocks]
    allowed: Callable[[Rows, Rows], Flags]
    near: Callable[[Rows, Rows], Flags]

    def plates_of(self, group: Group) -> tuple[int, ...]:
        return tuple(np.unique(self.plate[group.members]).tolist())

    def rivals(self, group: Group, plate: int) -> Rows:
        """Row numbers of the rivals on a plate that are no members, in their order."""
        rows = np.flatnonzero(self.rival & (self.plate == plate))
        rows = rows[~np.isin(rows, group.members)]
        return rows[np.argsort(self.place[rows], kind="stable")]


def exchange_nulls(
    groups: Sequence[Group], scores: Iterable[float], field: Field, size: int, exact_limit: int, seed: int
) -> list[tuple[float, Null]]:
    """Of each group its mAP by the similarities of `field`, and those that it would have if its wells were exchangeable
    with their rivals. A group that is one of its rivals shares these with others, and has the mAP that `scores` gives.

    Within every plate as many wells as the group has there are drawn among its own and its rivals, who take each
    other's places: all exchanges where there are at most `exact_limit`, else `size` random ones. A group of more than
    MOST_MEMBERS wells or MOST_RIVALS rivals is tested on part of its plates or wells, drawn at random; then the mAP is
    that of the part. Draws depend on the seed and on numbers of wells alone, not on other groups.
    """
    small = [_reduced(group, field, seed) for group in groups]
    zones: dict[object, dict[object, _Exchanged]] = {}
    draws = []
    for group in small:
        alike = zones.setdefault((field.plates_of(group), _reach(group, field).tobytes()), {})
        key = _draws_of(group, field)
        if key not in alike:
            alike[key] = _Exchanged(group, field, size, exact_limit, seed)
        draws.append(alike[key])
    for alike in zones.values():
        _fill(list(alike.values()), field)
    return [
        (score if part is group and _is_rival(group, field) else own.score, own.null)
        for own, score, part, group in zip(draws, scores, small, groups, strict=True)
    ]


def _draws_of(group: Group, field: Field) -> object:
    """What the exchanges of a group depend on: itself, but where it is one of its rivals its numbers alone."""
    plates = field.plate[group.members]
    if not _is_rival(group, field):
        return id(group)
    order = np.lexsort((field.place[group.members], plates))
    return plates[order].tobytes(), group.asks[order].tobytes(), group.relation[np.ix_(order, order)].tobytes()


def _is_rival(group: Group, field: Field) -> bool:
    return bool(field.rival[group.members].all())


def _reduced(group: Group, field: Field, seed: int) -> Group:
    """The group, or the part of it that is small enough: whole plates, else wells of one plate."""
    plates = field.plates_of(group)
    rivals = {plate: int((field.rival & (field.plate == plate)).sum()) for plate in plates}
    if len(group.members) <= MOST_MEMBERS and sum(rivals.values()) <= MOST_RIVALS:
        return group
    rng = np.random.default_rng([seed, len(group.members)])
    kept = np.zeros(len(group.members), dtype=bool)
    room = MOST_RIVALS
    for plate in rng.permutation(plates).tolist():
        here = np.flatnonzero(field.plate[group.members] == plate)
        here = rng.permutation(here[np.argsort(field.place[group.members[here]])])[: MOST_MEMBERS - kept.sum()]
        if not kept.any() or rivals[plate] <= room:
            kept[here] = True
            room -= rivals[plate]
    return group.part(kept)


def _reach(group: Group, field: Field) -> Flags:
    """(plates, plates): on which plates the queries of a plate have positives, and so rivals."""
    plates = np.searchsorted(field.plates_of(group), field.plate[group.members])
    reach = np.zeros((plates.max() + 1, plates.max() + 1), dtype=bool)
    query, positive = np.nonzero((group.relation == 1) & group.asks[:, None])
    reach[plates[query], plates[positive]] = True
    return reach


class _Exchanged:
    """The exchanges of one group: who takes which place in each, and the mAP that this gives. The first is none."""

    def __init__(self, group: Group, field: Field, size: int, exact_limit: int, seed: int) -> None:
        self.group = group
        pools, slots = [], []
        for plate in field.plates_of(group):
            own = np.flatnonzero(field.plate[group.members] == plate)
            own = own[np.argsort(field.place[group.members[own]], kind="stable")]
            pools.append(np.concatenate([group.members[own], field.rivals(group, plate)]))
            slots.append(own)
        choices = tuple((len(pool), len(own)) for pool, own in zip(pools, slots, strict=True))
        chosen, self.exact = _draws(choices, size, exact_limit, seed)
        self.drawn = np.empty((len(chosen[0]), len(group.members)), dtype=np.int64)
        self.place = np.full(self.drawn.shape, -1, dtype=np.int64)
        for pool, own, codes in zip(pools, slots, chosen, strict=True):
            self.drawn[:, own] = pool[codes]
            taken = _places_of_the_displaced(codes, len(own), field.fold[pool])
            taken[:, field.rival[group.members[own]]] = -1  # a rival by itself stays one, of its own fold
            self.place[:, own] = taken
        self.total, self.scored = np.zeros(len(self.drawn)), np.zeros(len(self.drawn), dtype=np.int64)

    @cached_property
    def null(self) -> Null:
        known = self.scored[1:] > 0
        return Null(np.sort(self.total[1:][known] / self.scored[1:][known]), self.exact)

    @property
    def score(self) -> float:
        """The mAP of the group as it is; minus infinity if it has none, as a part of a group may."""
        return float(self.total[0] / self.scored[0]) if self.scored[0] else -np.inf


@lru_cache(maxsize=64)
def _draws(choices: tuple[tuple[int, int], ...], size: int, exact_limit: int, seed: int) -> tuple[list[Rows], bool]:
    """Per (wells, places) of a plate the (1 + draws, places) wells that take the places, the first as it is; and
    whether these are all."""
    exact = prod(comb(*choice) for choice in choices) <= exact_limit
    if exact:
        each = [np.array(list(combinations(range(wells), places)), dtype=np.intp) for wells, places in choices]
        grid = np.indices([len(sets) for sets in each]).reshape(len(each), -1)
        drawn = [sets[index] for sets, index in zip(each, grid, strict=True)]
    else:
        rng = np.random.default_rng([seed, *(number for choice in choices for number in choice)])
        ranks = [random_ranks(rng, size, wells, places) - 1 for wells, places in choices]
        drawn = [rng.permuted(sets, axis=1).astype(np.intp) for sets in ranks]
    return [np.vstack([np.arange(sets.shape[1]), sets]) for sets in drawn], exact


def _places_of_the_displaced(codes: Rows, places: int, fold: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(draws, places) for each member that has lost its place the fold of a rival that came in, else -1. `codes` below
    `places` are members; `fold` is that of every code."""
    inside = (codes[:, None, :] == np.arange(places)[:, None]).any(axis=2)
    incoming = np.sort(np.where(codes >= places, codes, len(fold)), axis=1)
    turn = np.minimum(np.cumsum(~inside, axis=1) - 1, places - 1)
    came = np.take_along_axis(incoming, np.maximum(turn, 0), axis=1)
    return np.where(inside, -1, np.append(fold, -1)[came])


def _fill(exchanged: Sequence[_Exchanged], field: Field) -> None:
    """The mAP of every exchange of groups that lie on the same plates and reach the same of them."""
    from morpho_assets.evaluate.rank_kernels import add_exchanged, count_rivals

    first = exchanged[0].group
    plates = field.plates_of(first)
    members = np.unique(np.concatenate([draws.group.members for draws in exchanged]))
    used = field.rival & np.isin(field.plate, plates)
    used[members] = True
    columns = np.flatnonzero(used)
    column_of = np.full(len(field.plate), -1, dtype=np.int64)
    column_of[columns] = np.arange(columns.size)
    reach = _reach(first, field)
    plate = np.searchsorted(plates, field.plate[columns])
    fold = np.where(field.rival, field.fold, -1)[columns]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 2 * columns.size + 2))])
    for block, similarity in field.similar(columns):
        rows = columns[block]
        near = field.near(rows, columns)
        candidate = reach[plate[block][:, None], plate] & field.allowed(rows, columns) & near
        candidate[np.arange(block.size), block] = False
        above, tied = (np.empty((field.folds, *similarity.shape), dtype=np.int32) for _ in range(2))
        sizes = np.empty((field.folds, block.size), dtype=np.int32)
        count_rivals(similarity, np.argsort(similarity, axis=1), candidate, fold, above, tied, sizes)
        row_of = np.full(columns.size, -1, dtype=np.int64)
        row_of[block] = np.arange(block.size)
        for draws in exchanged:
            group = draws.group
            add_exchanged(
                similarity, above, tied, sizes, candidate, near, fold, row_of, column_of[draws.drawn],
                column_of[group.members], draws.place, group.relation, group.asks, harmonic, draws.total, draws.scored,
            )  # fmt: skip
