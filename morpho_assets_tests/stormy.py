"""Plates whose images and lake lie in an object store behind a bad network, made by `morpho run`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from morpho_assets_tests.killed import SOURCE, named
from morpho_assets_tests.object_store import ObjectStore, Weather
from morpho_assets_tests.project import Project, make_project

STORM = {"refused": 0.05, "truncated": 0.02, "reset": 0.01, "late": 0.01}
"""5 % errors, 2 % bodies that end early, 1 % broken connections, 1 % late answers."""


def project_in(store: ObjectStore, folder: Path, bucket: str, **settings: object) -> Project:
    """A project with its images and its lake in a bucket; its catalog, reports and fetched images lie in the folder."""
    source = {**SOURCE, "root": f"s3://{bucket}/gallery", "endpoint_url": store.url}
    given = {"sources": [source], "lake": f"s3://{bucket}/lake", "lake_options": store.options, **settings}
    folder.mkdir(parents=True)
    return make_project(folder, **given)


def put_gallery(store: ObjectStore, bucket: str, gallery: Path) -> None:
    store.create(bucket)
    for path in sorted(gallery.rglob("*")):
        if path.is_file():
            store.put(bucket, f"gallery/{path.relative_to(gallery)}", path.read_bytes())


@contextmanager
def storm(store: ObjectStore, seed: int, late: float) -> Iterator[Weather]:
    store.network.weather = Weather(STORM, seed, late)  # type: ignore[arg-type]
    try:
        yield store.network.weather
    finally:
        store.network.weather = None


@dataclass(frozen=True)
class Passed:
    """What came through: how many images were wanted, which were lost or are other than those of the gallery, how many
    requests met a fault, and the seconds."""

    images: int
    lost: list[str]
    faults: int
    requests: int
    seconds: float


def pass_through(project: Project, store: ObjectStore, gallery: Path, plates: Sequence[str], seed: int,
                 late: float) -> Passed:  # fmt: skip
    """Make the plates in a storm. Raises AssertionError, with what was printed, where a run fails."""
    with storm(store, seed, late) as weather, store.network.spoil() as requests:
        began = time.monotonic()
        project.run("run", *named(plates))
        seconds = time.monotonic() - began
    wanted, lost = 0, []
    for plate in plates:
        whole = {row["uri"]: row for row in project.read("image_files", plate).iter_rows(named=True)}
        for uri in project.read("sites", plate)["uri"]:
            wanted += 1
            path = gallery / uri.removeprefix("s3://cellpainting-gallery/")
            body = path.read_bytes()
            row = whole.get(uri)
            if (
                row is None
                or row["sha256"] != hashlib.sha256(body).hexdigest()
                or Path(row["path"]).read_bytes() != body
            ):
                lost.append(uri)
    return Passed(wanted, lost, weather.met.total(), len(requests), seconds)
