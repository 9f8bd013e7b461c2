"""The ledger and the catalog at the size of a screen: planning 2,000 plates, publishing one among 200, and asking.

Commits are written directly, as runs would have left them, with files that are there; what is timed is the platform's
own. Bounded: some eight minutes and 4 GB of temporary disk on two quiet cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import numpy as np
import polars as pl
import tifffile

from benchmarks.figures import Figures
from morpho_assets.compute import ComputeConfig
from morpho_assets.gallery.sources import GallerySource
from morpho_assets.lake import index, work
from morpho_assets.lake.digests import digest
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.ledger import Commit, Output, Partition, Read, Sites, now
from morpho_assets.lake.tables import table as declared
from morpho_assets.plan import digests_of, plain_settings, reads_of, recipe_of
from morpho_assets.publication import publish
from morpho_assets.settings import Settings
from morpho_assets.stages import PLATE_STAGES, STAGES, Target
from morpho_assets.workspace import Workspace

PLATES, BEHIND = 2000, 100
WIDE_PLATES, WELLS, CELLS_PER_WELL, FEATURES = 200, 384, 20, 3600
KINDS = 8  # wide plates of different numbers; the others are copies of them
SITES = 3456
FIRST = "P00000"
ABOUT = (
    f"{PLATES:,} plates, every stage of each committed with small files, in a lake on the disk and in moto's object "
    f"store (a process of its own on loopback): `morpho plan` with recorded observations, the ledger's index "
    f"{BEHIND} commits behind, and without an index (cold). Then {WIDE_PLATES} plates x {WELLS} wells x "
    f"{FEATURES:,} random features (well profiles, normalised profiles, {WELLS * CELLS_PER_WELL:,} cells each): one "
    "plate published anew, everything synced to the disk, 50 that finish at once, and two queries (medians)."
)
SOURCES = {
    "plate_manifest": {f"/gallery/metadata/{name}": "0123456789abcdef" for name in
                       ("load_data.csv", "barcode_platemap.csv", "platemap/map_1.txt", "external_metadata.tsv")},
    "raw_images": {"images": "0123456789abcdef"},
}  # fmt: skip


# Lakes that look as runs would have left them


def open_workspace(root: str, folder: str, options: Mapping[str, Any] | None = None) -> Workspace:
    gallery = GallerySource(kind="gallery", name="bench", root=f"{folder}/gallery", project="cpg", source="source_1")
    settings = Settings(lake=root, sources=(gallery,), catalog=f"{folder}/morpho.duckdb")
    return Workspace(settings, Lake(root, dict(options or {})), Path(folder))


def plate_name(number: int) -> str:
    return f"P{number:05d}"


def commit_plate(workspace: Workspace, plate: str, tables: Mapping[str, pl.DataFrame]) -> None:
    """Commit every stage of a plate as a run would, from these tables and a row in each of the others."""
    partition, lake = Partition("plate", plate), workspace.lake
    target = Target(partition, workspace.settings, source=workspace.settings.sources[0])
    commits: dict[tuple[str, Partition], Commit] = {}
    for name in PLATE_STAGES:
        stage, sources = STAGES[name], SOURCES.get(name, {})
        outputs = {each: lake.write(name, partition, each, tables.get(each, one_row(each, plate)))
                   for each in stage.outputs}  # fmt: skip
        reads = tuple(
            Read(stage=read, kind=own.kind, key=own.key, number=1, tables=digests_of(commits[read, own], names))
            for (read, own), names in reads_of(stage, target).items()
        )
        notes = {"source": "bench", "watched": list(sources)} if name == "plate_manifest" else {}
        commits[name, partition] = lake.ledger.commit(
            draft(name, partition, outputs, reads, sources, notes, recipe_of(stage, target, commits, sources), target)
        )
    lake.ledger.observe(partition, {name: commit.sources for (name, _), commit in commits.items()})


def draft(
    name: str, partition: Partition, outputs: Mapping[str, Output], reads: tuple[Read, ...],
    sources: Mapping[str, str], notes: Mapping[str, Any], recipe: str, target: Target,
) -> Commit:  # fmt: skip
    content = digest({table: output.digest for table, output in outputs.items()})
    stage = STAGES[name]
    return Commit(
        stage=name, partition=partition, number=1, before=None, recipe=recipe, content=content, outputs=dict(outputs),
        files=None, reads=reads, sources=dict(sources), settings=plain_settings(stage, target),
        code_version=stage.code_version, package_version="0", sites=Sites(total=SITES, digest=content), verdicts=(),
        notes=dict(notes), writer="bench", who="bench", at=now(),
    )  # fmt: skip


def one_row(name: str, plate: str) -> pl.DataFrame:
    table = declared(name)
    row = {key: 1 if table.dtype(key).is_integer() else "A01" for key in table.keys}
    return pl.DataFrame([{**row, table.partition_column: plate}])


def copy_plate(root: str, plate: str, copies: Iterator[str]) -> None:
    """Plates that differ from one in their name only. Their tables are links to its files, in folders of their own,
    from which their name is taken."""
    files = [path for path in sorted(Path(root).rglob("*")) if path.is_file() and plate in str(path)]
    for copy in copies:
        for path in files:
            place = Path(str(path).replace(plate, copy))
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".parquet":
                os.link(path, place)
            else:
                place.write_bytes(path.read_bytes().replace(plate.encode(), copy.encode()))


def commit_again(workspace: Workspace, numbers: range, output: Output | None = None) -> None:
    """Further commits of the profiles of plates: of equal content, or with other normalised profiles."""
    for number in numbers:
        last = workspace.lake.ledger.latest("well_profiles", Partition("plate", plate_name(number)))
        assert last is not None
        outputs = dict(last.outputs)
        if output is not None:
            outputs["normalized_profiles"] = moved(workspace, output, last.partition)
        content = digest({table: each.digest for table, each in outputs.items()})
        changes = {
            "number": last.number + 1,
            "before": last.number,
            "outputs": outputs,
            "content": content,
            "at": now(),
        }
        workspace.lake.ledger.commit(last.model_copy(update=changes))


def moved(workspace: Workspace, output: Output, partition: Partition) -> Output:
    """A table of another plate as this one's: a link to its file."""
    [file] = output.files
    path = f"normalized_profiles/Metadata_Plate={partition.key}/{file.path.rpartition('/')[2]}"
    if not os.path.exists(workspace.lake.files.url(path)):
        os.link(workspace.lake.files.url(file.path), workspace.lake.files.url(path))
    return output.model_copy(update={"files": (file.model_copy(update={"path": path}),)})


# What is timed


def seconds_of(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def plan_all(workspace: Workspace) -> None:
    """Plan every plate, as a new process would. Raises SystemExit unless all are current."""
    fresh = Workspace(workspace.settings, Lake(workspace.lake.root, workspace.lake.options), workspace.root)
    tasks = fresh.plan([plate_name(number) for number in range(PLATES)], look=False)
    if tasks:
        raise SystemExit(f"{len(tasks)} stages are stale that should be current, such as {tasks[0]}")


def plans(figures: Figures, folder: str) -> None:
    workspace = open_workspace(f"{folder}/lake", folder)
    commit_plate(workspace, FIRST, {})
    copy_plate(workspace.lake.root, FIRST, map(plate_name, range(1, PLATES)))
    with serving(workspace.lake.root) as options:
        where = {"": workspace, "_s3": open_workspace("s3://bucket/lake", folder, options)}
        for place, opened in where.items():
            cold = seconds_of(partial(plan_all, opened))
            figures.add(f"plan_2000{place}_cold_seconds", cold, "s", "it also writes the index", 150 if place else 20)
            commit_again(opened, range(BEHIND))
            found = [seconds_of(partial(plan_all, opened)) for _ in range(1 if place else 3)]
            figures.add(f"plan_2000{place}_seconds", statistics.median(found), "s", at_most=30 if place else 5)
            size = opened.lake.files.entry(index.PATH)
            if size is None:
                raise SystemExit("the first plan left no index")


def publications(figures: Figures, folder: str) -> None:
    workspace = open_workspace(f"{folder}/wide", folder)
    rng = np.random.default_rng(0)
    for kind in range(KINDS):
        plate = plate_name(kind)
        commit_plate(workspace, plate, wide_tables(plate, rng, with_cells=not kind))
        cells = workspace.lake.root + "/single_cells/Metadata_Plate="
        copy_plate(workspace.lake.root, plate, map(plate_name, range(kind + KINDS, WIDE_PLATES, KINDS)))
        print(
            f"plates like {plate} are there: {sum(1 for _ in Path(cells + plate).iterdir())} file of cells", flush=True
        )
    catalog = workspace.settings.catalog
    first = seconds_of(lambda: publish(workspace))
    figures.add("publish_200_seconds", first, "s", "all plates, for the first time")
    figures.add("catalog_gb", os.path.getsize(catalog) / 1e9, "GB")
    other = workspace.lake.ledger.latest("well_profiles", Partition("plate", plate_name(1)))
    assert other is not None
    commit_again(workspace, range(16, 17), other.outputs["normalized_profiles"])
    figures.add("publish_one_seconds", seconds_of(lambda: publish(workspace)), "s", at_most=8)
    commit_again(workspace, range(24, 74), other.outputs["normalized_profiles"])
    swaps: list[str] = []
    swap = os.replace
    threads = [threading.Thread(target=publish, args=[workspace]) for _ in range(50)]
    with patch.object(os, "replace", lambda *paths: (swaps.append(str(paths[1])), swap(*paths))):
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    count = swaps.count(os.path.realpath(catalog))
    figures.add("publications_for_50", count, "publications", f"{time.perf_counter() - began:.0f} s until all 50 that "
                "asked for one had it", at_most=1)  # fmt: skip
    feature = feature_names()[7]
    with duckdb.connect(catalog, read_only=True) as connection:
        aggregate = f"SELECT avg({feature}) FROM normalized_profiles"
        figures.add("aggregate_ms", median_ms(connection, aggregate), "ms", "one feature over all wells", at_most=50)
        cells_of = (f"SELECT Metadata_Well, count(*), avg({feature}) FROM single_cells "
                    f"WHERE Metadata_Plate = '{plate_name(150)}' GROUP BY ALL")  # fmt: skip
        figures.add("plate_cells_ms", median_ms(connection, cells_of), "ms", "of one plate, by well", at_most=200)


def median_ms(connection: duckdb.DuckDBPyConnection, sql: str) -> float:
    return 1000 * statistics.median(seconds_of(lambda: connection.execute(sql).fetchall()) for _ in range(15))


def feature_names() -> list[str]:
    return [f"{('Cells', 'Nuclei', 'Cytoplasm')[number % 3]}_Intensity_{number}" for number in range(FEATURES)]


def wide_tables(plate: str, rng: np.random.Generator, with_cells: bool) -> dict[str, pl.DataFrame]:
    names = [f"{chr(65 + well // 24)}{well % 24 + 1:02d}" for well in range(WELLS)]
    wells = pl.DataFrame({"Metadata_Plate": plate, "Metadata_Well": names})
    cells = wells.join(pl.DataFrame({"ObjectNumber": range(1, CELLS_PER_WELL + 1)}), how="cross")
    cells = cells.with_columns(Metadata_Site=pl.lit(1))
    frames = {"well_profiles": wells, "normalized_profiles": wells, **({"single_cells": cells} if with_cells else {})}
    return {
        name: keys.hstack(pl.DataFrame(rng.standard_normal((keys.height, FEATURES), np.float32), feature_names()))
        for name, keys in frames.items()
    }


def write_images(paths: Sequence[str]) -> str:
    """One small image under all these names; its digest."""
    Path(paths[0]).parent.mkdir(parents=True)
    tifffile.imwrite(paths[0], np.arange(1024, dtype=np.uint16).reshape(32, 32))
    for path in paths[1:]:
        os.link(paths[0], path)
    return hashlib.sha256(Path(paths[0]).read_bytes()).hexdigest()


def tasks(figures: Figures, folder: str) -> None:
    """What a worker is sent for one site of a plate of many."""
    workspace = open_workspace(f"{folder}/sites", folder)
    partition, channels = Partition("plate", FIRST), ["DNA", "ER", "RNA", "AGP", "Mito"]
    wells = [f"{chr(65 + well // 24)}{well % 24 + 1:02d}" for well in range(WELLS)]
    sites = pl.DataFrame({"Metadata_Plate": FIRST, "Metadata_Well": wells}).join(
        pl.DataFrame({"Metadata_Site": range(1, SITES // WELLS + 1)}), how="cross"
    )
    place = pl.concat_str("Metadata_Well", pl.lit("-"), "Metadata_Site")
    images = sites.join(pl.DataFrame({"channel": channels}), how="cross").with_columns(
        uri=pl.format("s3://cellpainting-gallery/cpg/source_1/images/batch_1/{}-{}.tiff", place, "channel"),
        path=pl.format("{}/{}-{}.tiff", pl.lit(f"{folder}/images"), place, "channel"),
    )  # fmt: skip
    images = images.with_columns(sha256=pl.lit(write_images(images["path"].to_list())))
    masks = sites.with_columns(nuclei=pl.format("label_images/{}_nuclei.tif", place), cells=pl.format("{}.tif", place))
    functions = [{"Metadata_Plate": FIRST, "channel": each, "path": f"illumination/{each}.npy"} for each in channels]
    tables = {"sites": images.drop("path", "sha256"), "image_files": images, "masks": masks,
              "illumination_functions": pl.DataFrame(functions)}  # fmt: skip
    commit_plate(workspace, FIRST, tables)
    target = Target(partition, workspace.settings, source=workspace.settings.sources[0])
    state = workspace.lake.ledger.state([partition])
    largest: dict[str, float] = {}
    for name in ("image_quality", "masks", "single_cells"):
        stage = STAGES[name]
        commits = [state.commits[key] for key in reads_of(stage, target)]
        inputs, settings = workspace.lake.snapshot(commits), stage.settings(target)
        one = work.Work(name, partition, workspace.lake, inputs, settings, "method", stage.options(target),
                        ComputeConfig(workers=1), source=target.from_where)  # fmt: skip
        given: list[tuple[Any, list[Any]]] = []

        def note(task: Any, items: list[Any], *_: Any, noted: list[tuple[Any, list[Any]]] = given) -> Iterator[Any]:
            noted.append((task, items))
            return iter(())

        with patch.object(work, "map_items", note):
            try:
                stage.function(one)
            except Exception as error:  # nothing was made; what was to be made is known
                print(f"{name} was given {len(given[0][1])} sites ({type(error).__name__})", flush=True)
        task, items = given[0]
        assert len(items) == SITES
        largest[name] = (len(pickle.dumps(task)) + len(pickle.dumps(items)) / SITES) / 1024
    worst = max(largest, key=lambda name: largest[name])
    figures.add("task_kb", largest[worst], "kB", f"function and site of {worst}, of a plate of {SITES:,} sites", 100)


@contextmanager
def serving(lake: str) -> Iterator[dict[str, Any]]:
    """A lake in an object store, served by a process of its own; yields fsspec's options."""
    command = [sys.executable, "-m", "benchmarks.ledger", "--serve", lake]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            yield {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": url}}
        finally:
            process.terminate()


def serve(lake: str) -> None:
    """Serve the files of a lake, put straight into moto's memory, until terminated."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer
    from moto.s3.models import s3_backends

    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    store.create_bucket("bucket", "us-east-1")
    for path in Path(lake).rglob("*"):
        if path.is_file() and path.name != "index.parquet":
            store.put_object("bucket", f"lake/{path.relative_to(lake)}", path.read_bytes())
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    threading.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"plans": plans, "publications": publications, "tasks": tasks}
    parser.add_argument("--only", choices=parts, help="one part; nothing is published")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    figures = Figures("ledger", ABOUT)
    for name, part in parts.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(figures, folder)
    if arguments.only is None:
        figures.publish("What limits: parsing commits, and moto's listings (some 20 ms for each thousand files and for "
                        "each thousand before them); copying the database, and checkpointing it.")  # fmt: skip


if __name__ == "__main__":
    main()
