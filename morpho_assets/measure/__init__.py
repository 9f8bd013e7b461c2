"""Single-cell measurements with CellProfiler's names and values.

`measure_site(image, labels, channels)` gives one row per object; `feature_columns` names its columns without
measuring; `MeasurementConfig` and the named `PROFILES` say what is measured. docs/measurements.md describes all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from morpho_assets.measure.config import PROFILES, MeasurementConfig

if TYPE_CHECKING:
    from morpho_assets.measure.site import feature_columns, measure_site

__all__ = ["PROFILES", "MeasurementConfig", "feature_columns", "measure_site"]


def __getattr__(name: str) -> Any:
    """Load the compiled engine (numba, about a second) only when it is first used."""
    if name in ("feature_columns", "measure_site"):
        from morpho_assets.measure import site

        return getattr(site, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
