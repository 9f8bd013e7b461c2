"""The measurement modules, by the name of their settings in `MeasurementConfig`.

A module is a file of this room with the two functions of `MeasurementModule`; a new one is added here and in
config.py, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from morpho_assets.measure import (
    area_shape,
    correlation,
    granularity,
    intensity,
    neighbors,
    radial_distribution,
    texture,
)
from morpho_assets.measure.config import MeasurementConfig
from morpho_assets.measure.inputs import Site


class MeasurementModule(Protocol):
    """One group of features, measured for all objects of a compartment in one pass."""

    def columns(self, compartment: str, channels: Sequence[str], config: Any) -> list[str]:
        """Names without the compartment; empty where the module does not apply to it."""

    def measure(self, site: Site, compartment: str, config: Any) -> NDArray[np.float64]:
        """(objects, columns) values, in the order of `columns`; NaN where undefined, never infinite."""


MODULES: dict[str, MeasurementModule] = {
    "area_shape": cast(MeasurementModule, area_shape),
    "correlation": cast(MeasurementModule, correlation),
    "granularity": cast(MeasurementModule, granularity),
    "intensity": cast(MeasurementModule, intensity),
    "neighbors": cast(MeasurementModule, neighbors),
    "radial_distribution": cast(MeasurementModule, radial_distribution),
    "texture": cast(MeasurementModule, texture),
}


def chosen(config: MeasurementConfig) -> list[tuple[MeasurementModule, Any]]:
    """The modules that are switched on, with their settings."""
    return [(MODULES[name], settings) for name, settings in config if settings is not None]
