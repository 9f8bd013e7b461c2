"""Wells without an effect, and directions in which a treatment may move them: drawn, or of a user's own controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.power.design import Places, Plate
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.normalize import MAD_TO_SD
from morpho_assets.profiles.rows import groups_of, rows_where
from morpho_assets.simulator.design import GalleryDesign, Technique
from morpho_assets.simulator.layout import position_effect

Matrix = npt.NDArray[np.float64]
FEATURES, DECAY, TAILS = 200, 1.1, 12.0
"""Features, the power by which the variance of components falls, and the degrees of freedom of Student's t: of the
negative controls of three CPJUMP1 plates (cpg0000, 192 wells, 904 features) components fall by the power 1.1, 21 of
equal variance would hold as much as all, and features have an excess kurtosis of 0.7."""
CHANNELS = 5
TECHNIQUE = Technique()
LEAST_CONTROLS = 8  # of a user's own, for a spread and a covariance


class Wells(Protocol):
    """Where wells come from."""

    @property
    def about(self) -> str:
        """What they are, in a sentence."""
        ...

    def most(self) -> int | None:
        """How many can be drawn at once; None: any number."""
        ...

    def draw(self, places: Sequence[Places], plate: Plate, rng: np.random.Generator) -> list[Matrix]:
        """Of each plate the (wells, features) profiles of untreated wells at these places."""
        ...

    def moves(self, number: int, rng: np.random.Generator) -> Matrix:
        """(number, features) shifts of length 1: in units of the controls' MAD (x 1.4826) along each direction."""
        ...


@dataclass(frozen=True)
class DrawnWells:
    """Wells of the simulator, at the level of profiles: correlated features with the spectrum and tails of real
    controls. `technique` says how large the shift of each plate and the effect of position are, relative to the jitter
    of wells, along directions of light; without, there is neither."""

    technique: Technique | None = TECHNIQUE
    seed: int = 0

    @property
    def about(self) -> str:
        place = "with" if self.technique is not None else "without"
        return f"wells drawn by the simulator, {place} plate and position effects"

    def most(self) -> int | None:
        return None

    @cached_property
    def _scales(self) -> Matrix:
        return np.arange(1, FEATURES + 1) ** (-DECAY / 2)

    @cached_property
    def _rotation(self) -> Matrix:
        """(features, features), so that all features vary alike."""
        return np.linalg.qr(np.random.default_rng(self.seed).normal(size=(FEATURES, FEATURES)))[0]

    def draw(self, places: Sequence[Places], plate: Plate, rng: np.random.Generator) -> list[Matrix]:
        *light, place = self._along(rng.normal(size=(CHANNELS + 1, FEATURES)))
        found = []
        for here in places:
            tails = np.sqrt(TAILS / rng.chisquare(TAILS, size=(here.size, 1)))
            values = (rng.normal(size=(here.size, FEATURES)) * tails * self._scales) @ self._rotation.T
            if self.technique is not None:
                jitter = self.technique.well_jitter or 1.0
                gains = np.hypot(self.technique.batch_gain, self.technique.plate_gain) * rng.normal(size=CHANNELS)
                values += (gains / jitter) @ np.array(light) + self._position(here, plate)[:, None] / jitter * place
            found.append(values)
        return found

    def _position(self, places: Places, plate: Plate) -> Matrix:
        """(places,) log change of light."""
        assert self.technique is not None
        rows, columns = plate.shape
        whole = GalleryDesign(rows=rows, columns=columns, technique=self.technique)
        return np.array(
            [position_effect(whole, place // columns + 1, place % columns + 1) for place in places.tolist()]
        )

    def moves(self, number: int, rng: np.random.Generator) -> Matrix:
        return self._along(rng.normal(size=(number, FEATURES)))

    def _along(self, mixed: Matrix) -> Matrix:
        """Directions in which treatments move wells as controls vary, one MAD long: so do those of real compounds, in
        whose direction lie 4 % of the controls' variance (in one at random: 0.1 %)."""
        from scipy.stats import t

        way = mixed * self._scales  # in the frame of the components
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        spread = np.sqrt(((way * self._scales) ** 2).sum(axis=1)) * MAD_TO_SD * float(t.ppf(0.75, TAILS))
        return np.asarray((way * spread[:, None]) @ self._rotation.T)


@dataclass(frozen=True)
class OwnWells:
    """A user's negative controls: (n, features) values less their plate's median, in the order of plates, with the code
    of the plate (n,); and the directions of treatments on these plates, (m, features), none where none are known.
    `resample`: real wells, each used once at most in a set of plates; else wells drawn from their covariance."""

    controls: Matrix
    plate: npt.NDArray[np.int64]
    directions: Matrix
    resample: bool

    @classmethod
    def of(cls, profiles: pl.DataFrame, features: Sequence[str], resample: bool) -> Self:
        """From normalised profiles of wells; those with missing features are left out. InputError with fewer than 8
        controls."""
        values = to_matrix(profiles, features)
        whole = ~np.isnan(values).any(axis=1)
        profiles, values = profiles.filter(pl.Series(whole)), values[whole]
        negative = rows_where(profiles, "negcon").to_numpy()
        if negative.sum() < LEAST_CONTROLS:
            raise InputError("morpho design", "plates", f"{int(negative.sum())} negative controls on them",
                             f"{LEAST_CONTROLS} or more", "Name more plates.")  # fmt: skip
        plates = groups_of(profiles, ["Metadata_Plate"])
        codes = np.zeros(profiles.height, dtype=np.int64)
        for code, (_, rows) in enumerate(plates):
            here = rows[negative[rows]]
            codes[rows] = code
            values[rows] -= np.median(values[here], axis=0) if here.size else 0.0
        order = np.argsort(codes[negative], kind="stable")
        treated = profiles.filter(pl.Series(~negative))
        moved = values[~negative]
        names = [] if "Metadata_Perturbation" not in treated.columns else groups_of(treated, ["Metadata_Perturbation"])
        found = [np.median(moved[rows], axis=0) for _, rows in names if rows.size > 1]
        ways = np.array(found).reshape(-1, values.shape[1])
        ways = ways[np.linalg.norm(ways, axis=1) > 0]
        return cls(values[negative][order], codes[negative][order], ways, resample)

    @property
    def about(self) -> str:
        number, plates = len(self.controls), np.unique(self.plate).size
        how = "resampled" if self.resample else "taken for the covariance that wells are drawn from"
        ways = f"along the {len(self.directions)} treatments there" if len(self.directions) else "as controls vary"
        return f"{number} negative controls of {plates} plates, {how}; effects {ways}"

    def most(self) -> int | None:
        return len(self.controls) if self.resample else None

    @cached_property
    def _root(self) -> Matrix:
        """(features, features) square root of the shrunk covariance."""
        from sklearn.covariance import ledoit_wolf

        covariance, _ = ledoit_wolf(self.controls)
        variance, vectors = np.linalg.eigh(covariance)
        return np.asarray(np.sqrt(np.maximum(variance, 0))[:, None] * vectors.T)

    def draw(self, places: Sequence[Places], plate: Plate, rng: np.random.Generator) -> list[Matrix]:
        if not self.resample:
            return [rng.normal(size=(here.size, len(self._root))) @ self._root for here in places]
        order = np.concatenate([
            rng.permutation(np.flatnonzero(self.plate == code)) for code in rng.permutation(np.unique(self.plate))
        ])  # fmt: skip
        ends = np.cumsum([here.size for here in places])
        return [self.controls[rng.permutation(rows)] for rows in np.split(order[: ends[-1]], ends[:-1])]

    def moves(self, number: int, rng: np.random.Generator) -> Matrix:
        if len(self.directions):
            chosen = rng.choice(len(self.directions), size=number, replace=number > len(self.directions))
            ways = self.directions[chosen]
        else:
            ways = rng.normal(size=(number, len(self.controls))) @ self.controls
        ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
        along = self.controls @ ways.T
        spread = MAD_TO_SD * np.median(np.abs(along - np.median(along, axis=0)), axis=0)
        return np.asarray(ways * spread[:, None])
