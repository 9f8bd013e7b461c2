"""A site measured: one row per object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.measure.config import MeasurementConfig, resolve
from morpho_assets.measure.inputs import prepare
from morpho_assets.measure.modules import MeasurementModule, chosen

Plan = dict[str, list[tuple[MeasurementModule, Any, list[str]]]]


def measure_site(
    image: NDArray[Any],
    labels: Mapping[str, NDArray[np.integer]],
    channels: Sequence[str],
    profile: MeasurementConfig | str = "jump",
) -> pl.DataFrame:
    """Measure every object of one field.

    image (C, H, W): floats in [0, 1], or uint16, which is divided by 65535.
    labels: compartment ("Nuclei", "Cells", "Cytoplasm", or any other name) to (H, W) integers: 0 background, and the
    same number for the same cell in every compartment; numbers may have gaps.
    channels: C names.

    Returns one row per object number that occurs, ascending: `ObjectNumber` Int64, then Float64 columns as named by
    `feature_columns`. A feature is NaN where it is undefined (docs/measurements.md) and where the object has no pixel
    in the compartment. No object: no rows, all columns. Raises InputError for inputs that do not fit each other.
    """
    config = resolve(profile)
    site = prepare(image, labels, channels)
    numbers = np.unique(np.concatenate([np.empty(0, np.int64), *(o.numbers for o in site.objects.values())]))
    plan = named_modules(site.channels, tuple(site.objects), config)
    names = in_order(plan)
    places = {name: place for place, name in enumerate(names)}
    values = np.full((len(numbers), len(names)), np.nan)
    for compartment, objects in site.objects.items():
        rows = np.searchsorted(numbers, objects.numbers)[:, None]
        for module, settings, features in plan[compartment]:
            if features and len(objects):
                columns = [places[name] for name in features]
                values[rows, columns] = module.measure(site, compartment, settings)
    return to_frame(numbers, values, names)


def feature_columns(
    channels: Sequence[str], compartments: Sequence[str], profile: MeasurementConfig | str = "jump"
) -> list[str]:
    """The columns of `measure_site` after `ObjectNumber`, in order: by compartment as given, then by name."""
    return in_order(named_modules(channels, compartments, resolve(profile)))


def named_modules(channels: Sequence[str], compartments: Sequence[str], config: MeasurementConfig) -> Plan:
    """The modules that run for each compartment, each with its settings and the full names of its columns."""
    return {
        compartment: [
            (module, settings, [f"{compartment}_{name}" for name in module.columns(compartment, channels, settings)])
            for module, settings in chosen(config)
        ]
        for compartment in compartments
    }


def in_order(plan: Plan) -> list[str]:
    """All names of a plan: by compartment, then by name."""
    return [
        name for modules in plan.values() for name in sorted(chain.from_iterable(features for *_, features in modules))
    ]


def to_frame(numbers: NDArray[np.int64], values: NDArray[np.float64], names: Sequence[str]) -> pl.DataFrame:
    """`ObjectNumber` from (n,) numbers, then (n, F) values under their F names.

    The frame is made lying down: polars turns a few long columns faster than it takes thousands of short ones.
    """
    if not values.size:
        return pl.DataFrame({"ObjectNumber": numbers, **dict.fromkeys(names, np.empty(0))})
    frame = pl.DataFrame(values.T).transpose(column_names=names)
    return frame.insert_column(0, pl.Series("ObjectNumber", numbers))
