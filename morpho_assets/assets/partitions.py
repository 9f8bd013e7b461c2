"""Partitions: one per plate (its barcode) and one per study (its name); both live in the Dagster instance.

Plates are registered by the sensor or by `morpho plates add`; a batch or a source is a column, never a partition.
"""

from __future__ import annotations

import dagster as dg

PLATES = dg.DynamicPartitionsDefinition(name="plate")
STUDIES = dg.DynamicPartitionsDefinition(name="study")
