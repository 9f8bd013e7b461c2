"""Publication: which commits go into the catalog, and whether it is behind the ledger."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import polars as pl

from morpho_assets.errors import LakeError, MorphoError
from morpho_assets.lake.catalog import (
    Published,
    is_published,
    publish_catalog,
    published_commits,
    published_files,
    publishing,
)
from morpho_assets.lake.files import Files, open_files
from morpho_assets.lake.ledger import Commit, Partition, Read, State
from morpho_assets.lake.sweep import Swept, sweep
from morpho_assets.plan import digests_of, unlike
from morpho_assets.refusals import told
from morpho_assets.stages import STAGES, Target
from morpho_assets.workspace import Workspace


def publish(workspace: Workspace) -> pl.DataFrame:
    """Bring the catalog up to date with the ledger; returns a row per table. Publications take turns.

    The ledger is read once the turn has come: of many that wait, the first publishes what all of them made, and the
    others find nothing to do.
    """
    path = workspace.settings.catalog
    with told(path), publishing(path):
        state = workspace.lake.ledger.state()
        published = publish_catalog(workspace.lake, path, publishable(workspace, state), state)
        if not _is_copied(workspace):
            _copy(workspace)
        return published


def is_behind(workspace: Workspace, state: State | None = None) -> bool:
    """Whether the catalog lacks something that is in the ledger, or has what is no longer in force; or its copy is not
    as it is."""
    state = state or workspace.lake.ledger.state()
    published = is_published(workspace.lake, workspace.settings.catalog, publishable(workspace, state), state)
    return not published or not _is_copied(workspace)


def clean(workspace: Workspace, days: float = 1.0) -> Swept:
    """Remove files of the lake, and of the folder of images, that nothing names any more (`lake/sweep.py`)."""
    ledger, catalog = workspace.lake.ledger, workspace.settings.catalog
    published = published_files(catalog)
    for (stage, partition), number in published_commits(catalog).items():
        with suppress(LakeError, FileNotFoundError):  # of a commit that is gone nothing can be kept
            commit = ledger.read(stage, partition, number)
            published |= {file.path for output in commit.outputs.values() for file in output.files}
            published |= {*ledger.keys(commit)["files"], *([commit.files] if commit.files else [])}
    return sweep(workspace.lake, days, published, [workspace.settings.images.folder])


def _is_copied(workspace: Workspace) -> bool:
    """Whether the catalog's copy in an object store is that of the last publication; where none is wanted it is."""
    if workspace.settings.catalog_copy is None:
        return True
    files, name = _place_of_copy(workspace.settings.catalog_copy, workspace)
    there, own = files.entry(name), os.stat(os.path.realpath(workspace.settings.catalog))
    return there is not None and there.size == own.st_size and there.written >= own.st_mtime - 1  # whole seconds


def _copy(workspace: Workspace) -> None:
    """Put the catalog into the object store, in one step: who reads it sees the old one or the new."""
    assert workspace.settings.catalog_copy is not None
    files, name = _place_of_copy(workspace.settings.catalog_copy, workspace)
    aside = files.aside(name)
    try:
        shutil.copyfile(os.path.realpath(workspace.settings.catalog), aside)
        files.put(name, aside)
    finally:
        if os.path.exists(aside):
            os.remove(aside)


def _place_of_copy(copy: str, workspace: Workspace) -> tuple[Files, str]:
    root, _, name = copy.rpartition("/")
    return open_files(root, workspace.settings.lake_options), name


def publishable(workspace: Workspace, state: State) -> Sequence[Published]:
    """Every last commit, with why it is left out: what comes from other settings or code than those in force, at any
    distance, never mixes with what does not; and what has lost files cannot be shown."""
    judge = _Judge(workspace, state)
    sizes = workspace.sizes()
    return [
        Published(commit, judge.unlike(commit) or workspace.lake.damage(commit, sizes))
        for _, commit in sorted(state.commits.items())
    ]


@dataclass
class _Judge:
    """Compares commits, and all that they were made from, with the settings and the code in force."""

    workspace: Workspace
    state: State
    known: dict[tuple[str, Partition, int], str | None] = field(default_factory=dict)
    targets: dict[tuple[Partition, tuple[str, ...]], Target] = field(default_factory=dict)

    def unlike(self, commit: Commit) -> str | None:
        """How a commit was made otherwise than it would be now, in words."""
        key = (commit.stage, commit.partition, commit.number)
        if key not in self.known:
            self.known[key] = self._own(commit) or next(filter(None, map(self._read, commit.reads)), None)
        return self.known[key]

    def _own(self, commit: Commit) -> str | None:
        stage = STAGES.get(commit.stage)
        if stage is None:
            return f"there is no stage {commit.stage} any more"
        try:
            target = self._target(commit)
        except MorphoError as error:
            return str(error)
        if target.study is not None and stage.parts and commit.partition.part not in stage.parts(target.study):
            return f"study {commit.partition.key} has no {commit.partition.part} any more"
        if rejection := stage.rejection(target):
            return rejection
        difference = next(unlike(stage, target, commit), None)
        return f"{commit.stage} was made with other settings than those in force: {difference}" if difference else None

    def _read(self, read: Read) -> str | None:
        """The same for what was read: the last commit where it is of equal content, else the one that was read."""
        last = self.state.commits.get((read.stage, read.partition))
        if last is not None and (last.number == read.number or digests_of(last, read.tables) == read.tables):
            return self.unlike(last)
        try:
            return self.unlike(self.workspace.lake.ledger.read(read.stage, read.partition, read.number))
        except LakeError as error:
            return str(error)

    def _target(self, commit: Commit) -> Target:
        """What is in force for a commit's partition; of a study with the plates that it was made from."""
        study = commit.partition.kind == "study"
        plates = tuple(sorted({read.key for read in commit.reads if read.kind == "plate"})) if study else ()
        if (commit.partition, plates) not in self.targets:
            found = self.workspace.target(commit.partition, self.state, plates if study else None)
            self.targets[commit.partition, plates] = found
        return self.targets[commit.partition, plates]
