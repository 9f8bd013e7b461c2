"""Fetching a plate's images: in parallel, resumable, verified; what lies in a local folder is used where it lies."""

from __future__ import annotations

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.compute import Progress, no_progress
from morpho_assets.errors import ImageError
from morpho_assets.gallery.store import Store
from morpho_assets.lake.failures import write_failures
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.tables import table


class ImagesConfig(BaseModel):
    """Where fetched images lie, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field("data/images", description="local folder of the fetched images")
    policy: Literal["keep", "stream"] = Field(
        "keep", description="keep: images stay; stream: a site's images are deleted once it is measured"
    )
    downloads: int = Field(8, ge=1, description="images fetched at the same time")


def fetch_images(
    lake: Lake, plate: str, made: Provenance, store: Store, config: ImagesConfig, progress: Progress = no_progress
) -> pl.DataFrame:
    """Fetch every image of a plate's `sites` and write `image_files`; returns those rows.

    An image that cannot be had is a row in `site_failures` (stage raw_images). A file that is already there with the
    size its store gives is not fetched again. Local images are read where they lie, never copied, never deleted.
    """
    sites = lake.read("sites", plate).to_dicts()
    files, failures = [], []
    with ThreadPoolExecutor(config.downloads) as threads:
        tasks = {threads.submit(_fetch, store, row, config.folder): row for row in sites}
        for done, task in enumerate(as_completed(tasks), start=1):
            row = tasks[task]
            try:
                files.append(task.result())
            except ImageError as error:
                failures.append({**row, "error": error.reason, "path": error.path})
            progress("raw_images", done, len(sites))
    frame = pl.DataFrame(files, schema=table("image_files").empty().schema)
    order = {(r["Metadata_Well"], r["Metadata_Site"], r["channel"]): i for i, r in enumerate(sites)}
    rank = [order[key] for key in frame.select("Metadata_Well", "Metadata_Site", "channel").iter_rows()]
    frame = frame.with_columns(pl.Series("rank", rank, dtype=pl.Int32)).sort("rank").drop("rank")
    made = made.including("images", frame["sha256"].to_list())
    failures.sort(key=lambda row: order[row["Metadata_Well"], row["Metadata_Site"], row["channel"]])
    write_failures(lake, plate, "raw_images", failures, made)
    lake.write("image_files", plate, frame, made)
    return frame


def delete_fetched(paths: list[str], folder: str) -> None:
    """Delete fetched copies of images; a file outside `folder` is somebody's own and stays."""
    for path in paths:
        if Path(path).is_relative_to(folder):
            Path(path).unlink(missing_ok=True)


def _fetch(store: Store, row: dict[str, Any], folder: str) -> dict[str, Any]:
    """The `image_files` row of one image, which is on this machine afterwards."""
    uri = store.resolve(row["uri"])
    if "://" not in uri:
        path, body = uri, store.read(uri).body
    else:
        name = f"{row['Metadata_Well']}-{row['Metadata_Site']}-{row['channel']}{os.path.splitext(uri)[1]}"
        path = os.path.join(folder, row["Metadata_Plate"], name)
        present = _present(store, uri, path)
        body = store.read(uri).body if present is None else present
        if present is None:
            _write_aside(path, body)
    kept = ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel", "uri", "series", "frame")
    place = {key: row[key] for key in kept}
    return {**place, "path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def _present(store: Store, uri: str, path: str) -> bytes | None:
    """The content of a file that an earlier run fetched, if it is the store's."""
    if not os.path.exists(path):
        return None
    body = Path(path).read_bytes()
    return body if store.matches(uri, body) else None


def _write_aside(path: str, body: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.aside")
    Path(aside).write_bytes(body)
    os.replace(aside, path)
