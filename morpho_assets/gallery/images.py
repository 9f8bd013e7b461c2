"""Fetching a plate's images: in parallel, resumable, verified; what lies in a local folder is used where it lies."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.errors import ImageError, LakeError
from morpho_assets.gallery.store import WEB, Content, Store
from morpho_assets.gallery.zarr_planes import PlaneName
from morpho_assets.lake.digests import digest
from morpho_assets.lake.files import LocalFiles, quoted
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work


class ImagesConfig(BaseModel):
    """Where fetched images lie, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field("data/images", description="local folder of the fetched images")
    policy: Literal["keep", "stream"] = Field(
        "keep", description="keep: images stay; stream: a site's images are deleted once it is measured"
    )
    disk_gb: float | None = Field(
        None,
        ge=0,
        description="stream: most of fetched images that the folder holds, GB; what is beyond is read from its source "
        "by each stage that needs it. Default: no bound",
    )
    downloads: int = Field(8, ge=1, description="images fetched at the same time")

    @model_validator(mode="after")
    def _bound_where_images_go(self) -> ImagesConfig:
        if self.disk_gb is not None and self.policy == "keep":
            raise ValueError("disk_gb needs `policy: stream`: images that are kept cannot be bounded")
        return self


class _Room:
    """What the folder of fetched images may still take; asked by many threads."""

    def __init__(self, config: ImagesConfig) -> None:
        self.lock = Lock()
        self.left = math.inf
        if config.disk_gb is not None:
            held = sum(file.stat().st_size for file in Path(config.folder).rglob("*") if file.is_file())
            self.left = config.disk_gb * 1e9 - held

    def take(self, size: int) -> bool:
        """Whether a file of `size` bytes may be written; then it is counted."""
        with self.lock:
            fits = size <= self.left
            self.left -= size if fits else 0
        return fits


def fetch_images(work: Work) -> None:
    """Fetch every image of a plate's `sites` and write `image_files`.

    An image that cannot be had is a row in `site_failures`, and fails its site. One that has not changed since the last
    commit is not fetched again, nor one that is already there with the size and checksum its store gives. Local images
    are read where they lie, never copied, never deleted. Under a bound (`disk_gb`) an image that the folder has no room
    for is fetched, checked and not kept: the stages that need it read it from its source, a site at a time.
    """
    config: ImagesConfig = work.options
    store: Store = work.source.store()
    sites = work.read("sites").to_dicts()
    stamps = image_stamps(store, sites)
    unchanged = _unchanged(work, stamps)
    room = _Room(config)
    files, failures = [], []
    with ThreadPoolExecutor(config.downloads) as threads:
        try:
            tasks = {
                threads.submit(_fetch, store, row, config.folder, room): row
                for row in sites
                if row["uri"] not in unchanged
            }
            files = [{**row, **unchanged[row["uri"]]} for row in sites if row["uri"] in unchanged]
            work.notes["images fetched"] = len(tasks)
            for done, task in enumerate(as_completed(tasks), start=len(files) + 1):
                row = tasks[task]
                try:
                    fetched, stamps[row["uri"]] = task.result()
                    files.append(fetched)
                except ImageError as error:
                    failures.append({**row, "error": error.reason, "path": error.path, "lasting": error.lasting})
                work.progress("raw_images", done, len(sites))
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)  # what waits in the queue is not fetched for nothing
            raise
    if config.disk_gb is not None:
        work.notes["images without room"] = sum(not os.path.exists(row["path"]) for row in files)
    _write(work, sites, files, failures)
    good = {row["uri"]: str(stamps[row["uri"]]) for row in files}
    failed = {row["uri"]: stamps[row["uri"]] if row["lasting"] else UNREACHABLE for row in failures}
    work.basis = {"stamps": good}
    work.sources = image_sources(good | failed, failed)


UNREACHABLE = "unreachable"
"""The stamp of an image that is there and could not be read: it is another one as soon as somebody looks."""


def image_sources(stamps: Mapping[str, str | None], failed: Collection[str]) -> dict[str, str]:
    """What the images of a plate look like, for the ledger: those that failed one by one, the others as one digest."""
    others = sorted((uri, stamp) for uri, stamp in stamps.items() if uri not in failed)
    return {"images": digest(others), **{uri: stamps.get(uri) or "missing" for uri in failed}}


def image_stamps(store: Store, rows: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """The stamp of each image of a plate's `sites`, None for one that is not there; each folder is listed once."""
    planes = store.planes()
    folders: dict[str, dict[str, str]] = {}
    stamps: dict[str, str | None] = {}
    for row in rows:
        if plane := PlaneName.of(row["uri"]):
            stamps[row["uri"]] = planes.of(plane)
            continue
        uri = store.resolve(row["uri"])
        folder = uri.rpartition("/")[0]
        if folder not in folders:
            folders[folder] = store.listing(folder)
        stamps[row["uri"]] = WEB if uri.startswith("http") else folders[folder].get(uri)
    return stamps


def _unchanged(work: Work, stamps: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
    """What is known of the images that are as they were at the last commit: uri to path, bytes and sha256."""
    before = work.earlier.get("basis", {}).get("stamps", {})
    same = [uri for uri, stamp in before.items() if stamps.get(uri) == stamp]
    if work.previous is None or not same or work.lake.damage(work.previous):
        return {}
    files = work.lake.snapshot([work.previous]).read("image_files", work.key)
    rows = files.filter(pl.col("uri").is_in(same)).select("uri", "path", "bytes", "sha256")
    return {row["uri"]: row for row in rows.iter_rows(named=True)}


def _write(
    work: Work,
    sites: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, Any]],
    failures: list[dict[str, Any]],
) -> None:
    """Write the tables, in the order of the manifest, and say which sites are done and which failed."""
    if len(files) + len(failures) != len(sites):
        counts = f"{len(files)} images were fetched and {len(failures)} failed of {len(sites)}"
        raise LakeError(f"{work.stage} of {work.partition}: {counts}")
    order = {(r["Metadata_Well"], r["Metadata_Site"], r["channel"]): i for i, r in enumerate(sites)}

    def rank(row: Mapping[str, Any]) -> int:
        return order[row["Metadata_Well"], row["Metadata_Site"], row["channel"]]

    names = [column.name for column in table("image_files").columns]
    rows = [{name: row.get(name) for name in names} for row in sorted(files, key=rank)]
    work.write("image_files", pl.DataFrame(rows, schema=table("image_files").empty().schema))
    work.write_failures(sorted(failures, key=rank))
    checksums: dict[str, list[str]] = {f"{row['Metadata_Well']}-{row['Metadata_Site']}": [] for row in sites}
    for row in rows:
        checksums[f"{row['Metadata_Well']}-{row['Metadata_Site']}"].append(str(row["sha256"]))
    work.sites = {key: digest(found) for key, found in checksums.items()}


def delete_fetched(paths: list[str], folder: str) -> None:
    """Delete fetched copies of images; a file outside `folder` is somebody's own and stays."""
    for path in paths:
        if Path(path).is_relative_to(folder):
            Path(path).unlink(missing_ok=True)


def _fetch(store: Store, row: Mapping[str, Any], folder: str, room: _Room) -> tuple[dict[str, Any], str]:
    """The `image_files` row of one image, which is on this machine afterwards, if there is room; and its stamp."""
    uri = store.resolve(row["uri"])
    if "://" not in uri:
        path, content = uri, store.read(uri)
    else:
        name = "-".join(quoted(str(row[part])) for part in ("Metadata_Well", "Metadata_Site", "channel"))
        path = os.path.join(
            folder, quoted(row["Metadata_Plate"]), name + os.path.splitext(uri)[1] * (PlaneName.of(uri) is None)
        )
        content = _present(store, uri, path) or _fetched(store, uri, path, room)
    return {**row, "path": path, "bytes": len(content.body), "sha256": content.sha256}, content.stamp


def _present(store: Store, uri: str, path: str) -> Content | None:
    """A file that an earlier run fetched, if it is the store's."""
    if not os.path.exists(path):
        return None
    body = Path(path).read_bytes()
    stamp = store.matches(uri, body)
    return None if stamp is None else Content(body, hashlib.sha256(body).hexdigest(), stamp)


def _fetched(store: Store, uri: str, path: str, room: _Room) -> Content:
    content = store.read(uri)
    folder, name = os.path.split(path)
    if room.take(len(content.body)):
        LocalFiles(folder).write(name, content.body)
    return content
