"""The seam of correction: named correctors, run as an ordered chain over the profiles of all plates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError

from morpho_assets.errors import InputError
from morpho_assets.profiles.arms import ChromosomeArmConfig, correct_chromosome_arm
from morpho_assets.profiles.cell_count import CellCountConfig, correct_cell_count
from morpho_assets.profiles.combat import CombatConfig, correct_combat
from morpho_assets.profiles.corrected import Corrected
from morpho_assets.profiles.features import require_features
from morpho_assets.profiles.harmony import HarmonyConfig, correct_harmony
from morpho_assets.profiles.mnn import MnnConfig, correct_mnn
from morpho_assets.profiles.pca import PcaConfig, correct_pca
from morpho_assets.profiles.position import WellPositionConfig, correct_well_position
from morpho_assets.profiles.scores import ClipConfig, NormalScoresConfig, correct_clip, correct_normal_scores
from morpho_assets.profiles.sphering import SpheringConfig, correct_sphering
from morpho_assets.profiles.tvn import CoralConfig, TvnConfig, correct_coral, correct_tvn


class Corrector(Protocol):
    """Profiles, their feature columns, the corrector's own config and a seed in; corrected profiles out. Rows and
    metadata stay; only features change."""

    def __call__(self, profiles: pl.DataFrame, features: Sequence[str], config: Any, seed: int) -> Corrected: ...


CORRECTORS: dict[str, Corrector] = {
    "well_position": correct_well_position,
    "cell_count": correct_cell_count,
    "normal_scores": correct_normal_scores,
    "clip": correct_clip,
    "sphering": correct_sphering,
    "pca": correct_pca,
    "coral": correct_coral,
    "tvn": correct_tvn,
    "combat": correct_combat,
    "harmony": correct_harmony,
    "mnn": correct_mnn,
    "chromosome_arm": correct_chromosome_arm,
}

CorrectorConfig = Annotated[
    WellPositionConfig | CellCountConfig | NormalScoresConfig | ClipConfig | SpheringConfig | PcaConfig | CoralConfig
    | TvnConfig | CombatConfig | HarmonyConfig | MnnConfig | ChromosomeArmConfig,
    Field(discriminator="corrector"),
]  # fmt: skip
_ADAPTER: TypeAdapter[CorrectorConfig] = TypeAdapter(CorrectorConfig)


def corrector_config(settings: Mapping[str, Any]) -> CorrectorConfig:
    """The config model named by `settings["corrector"]`; InputError listing the known names, or naming the setting."""
    if settings.get("corrector") not in CORRECTORS:
        raise InputError("correctors", str(settings.get("corrector")), "an unknown corrector",
                         f"one of {', '.join(CORRECTORS)}", "Choose one of them.")  # fmt: skip
    try:
        return _ADAPTER.validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError("correctors", ".".join(map(str, first["loc"])), first["msg"], "a valid setting",
                         "Correct it.") from error  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """`best`: the corrector with the chosen value; `curve`: a row per value, with its score on the tuning and on the
    reported treatments and how many these are, and the same of shuffled treatments."""

    best: CorrectorConfig
    curve: pl.DataFrame


class Tuner(Protocol):
    """Profiles, their feature columns, a corrector with a sweep and a seed in; what the sweep found out. It is
    `evaluate.sweep.sweep`: correction does not know how profiles are scored."""

    def __call__(self, profiles: pl.DataFrame, features: Sequence[str], corrector: Any, seed: int) -> Sweep: ...


def apply_corrector(state: Corrected, config: CorrectorConfig, seed: int = 0, tune: Tuner | None = None) -> Corrected:
    """`state` after one corrector; one with a sweep first gets its best value by `tune`. InputError without `tune`."""
    if config.sweep is None:
        return CORRECTORS[config.corrector](state.profiles, state.features, config, seed)
    if tune is None:
        raise InputError("correctors", config.corrector, "a sweep and nothing to score it by", "a corrector as it is",
                         "Give `tune=sweep` of morpho_assets.evaluate.sweep.")  # fmt: skip
    found = tune(state.profiles, state.features, config, seed)
    corrected = CORRECTORS[config.corrector](state.profiles, state.features, found.best, seed)
    values, on = config.sweep.values, found.curve["n_tuning"][0]
    best = getattr(found.best, config.sweep.setting)
    note = f"{config.sweep.setting} {best:g}, of {len(values)} values the best on {on} treatments"
    if len(values) > 2 and best in (min(values), max(values)):
        note += ", and the last of them: the best may lie further"
    return replace(corrected, notes=(note, *corrected.notes), curve=found.curve)


def correct_steps(
    profiles: pl.DataFrame, chain: Iterable[CorrectorConfig], features: Sequence[str] | None = None, seed: int = 0,
    tune: Tuner | None = None,
) -> Iterator[tuple[str, Corrected]]:  # fmt: skip
    """Yields (corrector, profiles so far and their features) after each step of `chain`, each on what the previous
    gave. Features are those of the compartments unless named; `tune` as in `apply_corrector`."""
    state = Corrected(profiles, tuple(require_features(profiles, features)))
    for config in chain:
        state = apply_corrector(state, config, seed, tune)
        yield config.corrector, state


def correct(
    profiles: pl.DataFrame, chain: Iterable[CorrectorConfig], features: Sequence[str] | None = None, seed: int = 0,
    tune: Tuner | None = None,
) -> pl.DataFrame:  # fmt: skip
    """`profiles` after the whole chain; rotations (pca, tvn, sphering by PCA) leave features named PC_0001 …."""
    for _, state in correct_steps(profiles, chain, features, seed, tune):
        profiles = state.profiles
    return profiles
