"""What the assets share: how one is declared, and how a picture or a table becomes metadata.

An asset names its inputs, calls one function and reports metadata a biologist would look at. What it reads and writes
lies in the lake, so its inputs are dependencies, never arguments.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
import polars as pl

from morpho_assets.assets.partitions import PLATES, STUDIES
from morpho_assets.lineage import PLATE_STAGES, STUDY_STAGES

LARGEST_PICTURE = 150_000  # bytes: a picture stays in the event log for ever


def plate_asset(group: str, kinds: set[str], **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare a stage of a plate: inputs and table come from the lineage, the description from its docstring."""

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        stage = PLATE_STAGES[function.__name__]
        return dg.asset(
            partitions_def=PLATES,
            group_name=group,
            kinds=kinds,
            deps=list(stage.inputs),
            tags={"morpho/table": stage.table},
            **options,
        )(function)

    return declare


def study_asset(
    group: str, kinds: set[str], reads: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare a stage of a study; `reads` are plate stages, of all plates the study names."""

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        stage = STUDY_STAGES.get(function.__name__)
        before = list(stage.inputs) if stage else []
        plates = [dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in reads]
        options.setdefault("deps", [*before, *plates])
        return dg.asset(partitions_def=STUDIES, group_name=group, kinds=kinds, **options)(function)

    return declare


def result(fingerprint: str, rows: int, metadata: Mapping[str, Any]) -> dg.MaterializeResult:
    """What an asset returns: the fingerprint as its data version, the row count, and what a person wants to see."""
    counted = {"dagster/row_count": dg.MetadataValue.int(rows), **metadata}
    return dg.MaterializeResult(metadata=counted, data_version=dg.DataVersion(fingerprint))


def picture(image: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """An image as metadata that the UI shows. Raises ValueError for one that is too large for the event log."""
    if len(image) > LARGEST_PICTURE:
        raise ValueError(f"picture {alt!r} has {len(image)} bytes, more than {LARGEST_PICTURE}")
    kind = "webp" if image[8:12] == b"WEBP" else "png" if image[:4] == b"\x89PNG" else "jpeg"
    return dg.MetadataValue.md(f"![{alt}](data:image/{kind};base64,{base64.b64encode(image).decode()})")


def small_table(frame: pl.DataFrame, rows: int = 20) -> dg.TableMetadataValue:
    """The first rows of a frame of few columns as a table in the UI."""
    records = [
        dg.TableRecord(
            {name: value if isinstance(value, int | float | str | bool) else str(value) for name, value in row.items()}
        )
        for row in frame.head(rows).iter_rows(named=True)
    ]
    columns = [dg.TableColumn(name, str(dtype).lower()) for name, dtype in frame.schema.items()]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))
