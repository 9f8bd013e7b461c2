"""Dose-response curves: Hill curves that start at the controls, with likely doses, and what speaks against them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

PARAMETERS = 3  # of a curve: half dose, slope, plateau
SLOPES = np.geomspace(0.3, 8.0, 16)  # the bounds of the slope are tcplfit2's (Sheffield 2022)
BEYOND = 10.0  # half doses and benchmark doses are sought so many times below and above the tested doses
PER_DECADE = 16  # steps of their grid
FINE, ZOOMS = 33, 2  # steps of a finer grid where the best curves lie, and of a finer one there
DEPARTURE = 0.01  # p under which a curve is no monotonic one


@dataclass(frozen=True)
class Hill:
    """response = top x^slope / (x^slope + half^slope); 0 without dose, `top` at saturating doses."""

    half: float
    slope: float
    top: float

    def __call__(self, dose: npt.ArrayLike) -> Vector:
        return self.top * _shape(np.log10(np.asarray(dose, dtype=float)), np.log10(self.half), self.slope)

    def dose_of(self, response: float) -> float | None:
        """The dose with this response; None where the curve never reaches it."""
        return self.half * (response / (self.top - response)) ** (1 / self.slope) if self.top > response > 0 else None


@dataclass(frozen=True)
class Likely:
    """A dose and its 95 % interval by profile likelihood; an end that the data do not bound is None. A benchmark dose
    that the best curve does not reach is None, and may have a lower end."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Fitted:
    """The best curve, the half dose (EC50) and the dose of the benchmark response, as likely as they are."""

    curve: Hill
    half: Likely
    benchmark: Likely


def _shape(log_dose: Vector, log_half: npt.ArrayLike, slope: npt.ArrayLike) -> Vector:
    from scipy.special import expit

    return np.asarray(expit(np.log(10) * np.asarray(slope) * (log_dose - np.asarray(log_half))))


@dataclass(frozen=True)
class Grid:
    """Curves of plateau 1 at the doses of n wells: `shapes` (halves * slopes, n), all of `halves` (log10) with all of
    `slopes`, both ascending, and the `square` of each, (halves * slopes,)."""

    halves: Vector
    slopes: Vector
    shapes: Vector
    square: Vector

    @classmethod
    def of(cls, doses: npt.ArrayLike) -> Grid:
        """For these (n,) positive doses."""
        return _grid(tuple(np.log10(np.asarray(doses, dtype=float)).tolist()))

    @classmethod
    def at(cls, log_doses: Vector, halves: Vector, slopes: Vector) -> Grid:
        shapes = _shape(log_doses, np.repeat(halves, slopes.size)[:, None], np.tile(slopes, halves.size)[:, None])
        return cls(halves, slopes, shapes, np.maximum((shapes**2).sum(axis=1), 1e-300))

    def explained(self, responses: Vector) -> Vector:
        """(..., halves * slopes) sum of squares that the best plateau of each curve explains of responses (..., n).
        Plateaus below the controls explain nothing."""
        return np.asarray(np.maximum(responses @ self.shapes.T, 0) ** 2 / self.square)

    def errors(self, responses: Vector) -> Vector:
        """(halves, slopes) sum of squares that the best plateau leaves of responses (n,)."""
        left = float(responses @ responses) - self.explained(responses)
        return np.asarray(left.reshape(self.halves.size, self.slopes.size))

    def errors_through(self, responses: Vector, doses: Vector, benchmark: float) -> Vector:
        """(doses,) the least sum of squares of a curve whose response at one of `doses` (log10) is the benchmark."""
        decades = self.slopes[:, None] * (self.halves - doses[:, None, None])  # (doses, slopes, halves)
        tops = benchmark * (1 + 10 ** np.minimum(decades, 100))
        moment = (self.shapes @ responses).reshape(self.halves.size, self.slopes.size).T
        square = self.square.reshape(self.halves.size, self.slopes.size).T
        errors = float(responses @ responses) - 2 * tops * moment + tops**2 * square
        return np.asarray(errors.min(axis=(1, 2)))

    def curve(self, number: int, responses: Vector) -> Hill:
        """The curve of a number with its best plateau for responses (n,)."""
        half, slope = divmod(int(number), self.slopes.size)
        top = max(float(self.shapes[number] @ responses / self.square[number]), 0.0)
        return Hill(float(10 ** self.halves[half]), float(self.slopes[slope]), top)


@lru_cache(maxsize=64)
def _grid(log_doses: tuple[float, ...]) -> Grid:
    doses = np.array(log_doses)
    low, high = doses.min() - np.log10(BEYOND), doses.max() + np.log10(BEYOND)
    return Grid.at(doses, np.linspace(low, high, int(np.ceil((high - low) * PER_DECADE)) + 1), SLOPES)


def fit_hill(doses: npt.ArrayLike, responses: npt.ArrayLike, benchmark: float) -> Fitted:
    """The Hill curve through the controls (response 0) that is nearest to the wells, by least squares.

    `doses` (n,) are positive, `responses` (n,) finite and in any unit, `benchmark` is a positive response in it. The
    best curve of a grid is refined; half doses lie within ten times of the tested ones. Intervals hold every dose with
    which some curve is not worse than the best by more than F(1, n - 3) allows (profile likelihood; Venzon & Moolgavkar
    1988, 10.2307/2347496): an end that is ten times beyond the tested doses is unbounded. With n of 3 or less
    everything is possible: no bounds. The benchmark dose is that of tcplfit2 (10.1093/bioinformatics/btab779).
    """
    y, log_doses, grid = np.asarray(responses, dtype=float), np.log10(np.asarray(doses, dtype=float)), Grid.of(doses)
    errors = grid.errors(y)
    curve = _refined(log_doses, y, grid.curve(int(errors.argmin()), y), grid)
    least = min(float(((y - curve(doses)) ** 2).sum()), float(errors.min()))
    dose = curve.dose_of(benchmark)
    if y.size <= PARAMETERS:
        return Fitted(curve, Likely(curve.half, None, None), Likely(dose, None, None))
    spare = y.size - PARAMETERS
    allowed = least * (1 + _quantile(spare) / spare)
    fine = grid
    for _ in range(ZOOMS):
        fine = _finer(log_doses, fine, fine.errors(y) <= allowed, curve)
    half = _interval(fine.halves, fine.errors(y).min(axis=1), allowed, grid.halves)
    through = fine.errors_through(y, grid.halves, benchmark) <= allowed
    if dose is None and not through.any():
        return Fitted(curve, Likely(curve.half, *half), Likely(None, None, None))
    asked = _around(grid.halves, through, np.log10(dose) if dose is not None else None)
    benchmarks = _interval(asked, fine.errors_through(y, asked, benchmark), allowed, grid.halves)
    return Fitted(curve, Likely(curve.half, *half), Likely(dose, *benchmarks))


@lru_cache(maxsize=256)
def _quantile(spare: int) -> float:
    from scipy.stats import f

    return float(f.ppf(0.95, 1, spare))


def _finer(log_doses: Vector, grid: Grid, inside: npt.NDArray[np.bool_], best: Hill) -> Grid:
    """A finer grid of the half doses and slopes of which some curve is `inside`, (halves, slopes), and the best."""
    halves = _around(grid.halves, inside.any(axis=1), np.log10(best.half))
    return Grid.at(log_doses, halves, np.exp(_around(np.log(grid.slopes), inside.any(axis=0), np.log(best.slope))))


def _around(coarse: Vector, inside: npt.NDArray[np.bool_], best: float | None) -> Vector:
    """(FINE,) values over all of an ascending grid that are inside, and the best, with a step of it on either side."""
    step = coarse[1] - coarse[0]
    found = [*coarse[inside], *([] if best is None else [best])]
    return np.linspace(max(min(found) - step, coarse[0]), min(max(found) + step, coarse[-1]), FINE)


def _interval(values: Vector, errors: Vector, allowed: float, whole: Vector) -> tuple[float | None, float | None]:
    """The doses between which the sum of squares of log10 doses `values` is allowed; an end of the `whole` grid is
    none."""
    inside = np.flatnonzero(errors <= allowed)
    if not inside.size:  # narrower than a step
        inside = np.array([int(errors.argmin())])
    first, last = int(inside[0]), int(inside[-1])
    low = values[first] if first == 0 else _crossing(values, errors, first - 1, first, allowed)
    high = values[last] if last == values.size - 1 else _crossing(values, errors, last + 1, last, allowed)
    return (
        None if low <= whole[0] else float(10**low),
        None if high >= whole[-1] else float(10**high),
    )


def _crossing(values: Vector, errors: Vector, outside: int, inside: int, allowed: float) -> float:
    """Where between two neighbours the sum of squares passes what is allowed."""
    rise = errors[outside] - errors[inside]
    share = np.clip((errors[outside] - allowed) / rise, 0, 1) if rise > 0 else 0.0
    return float(values[outside] + share * (values[inside] - values[outside]))


def _refined(log_doses: Vector, y: Vector, start: Hill, grid: Grid) -> Hill:
    from scipy.optimize import least_squares

    if start.top == 0:
        return start
    scale = float(np.abs(y).max())

    def residuals(parameters: Vector) -> Vector:
        return np.asarray(parameters[2] * _shape(log_doses, parameters[0], np.exp(parameters[1])) - y)

    lower = np.array([grid.halves[0], np.log(grid.slopes[0]), 0.0])
    upper = np.array([grid.halves[-1], np.log(grid.slopes[-1]), 100 * scale])
    first = np.clip([np.log10(start.half), np.log(start.slope), start.top], lower + 1e-9, upper - 1e-9)
    found = least_squares(residuals, first, bounds=(lower, upper), x_scale=[1.0, 1.0, scale], max_nfev=100).x
    return Hill(float(10 ** found[0]), float(np.exp(found[1])), float(found[2]))


def shuffled_doses(
    responses: npt.ArrayLike, strata: npt.ArrayLike, size: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(size, n) responses that change places with others of their stratum (n,)."""
    y, groups = np.asarray(responses, dtype=float), np.asarray(strata)
    drawn = np.tile(y, (size, 1))
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        drawn[:, own] = rng.permuted(drawn[:, own], axis=1)
    return drawn


def departs_from_monotonic(doses: npt.ArrayLike, responses: npt.ArrayLike) -> bool:
    """Whether the means of the doses differ from the nearest curve that never falls by more than the wells of one dose
    differ among themselves (F, p < 0.01), or by more than 1, the controls' spread, where that is more."""
    from scipy.optimize import isotonic_regression
    from scipy.stats import f

    x, y = np.asarray(doses, dtype=float), np.asarray(responses, dtype=float)
    levels, place, wells = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(place, y) / wells
    within = float(((y - means[place]) ** 2).sum())
    rising = isotonic_regression(means, weights=wells).x
    between = float((wells * (means - rising) ** 2).sum()) / max(levels.size - 1, 1)
    spare = y.size - levels.size
    error = max(within / spare, 1.0) if spare else 1.0
    return bool(levels.size > 2 and f.sf(between / error, levels.size - 1, spare or 1000) < DEPARTURE)
