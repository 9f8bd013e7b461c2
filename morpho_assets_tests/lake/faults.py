"""Faults on purpose: the i-th operation of a store, or of the disk itself, fails, or the process dies there.

What dies raises `Killed`, which nothing catches, and every later operation raises it too: clean-up that a dead process
would not do has no effect.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from botocore.exceptions import ClientError
from fsspec import AbstractFileSystem

from morpho_assets.gallery import store
from morpho_assets.lake import files
from morpho_assets.lake.files import Entry, Files, ObjectFiles
from morpho_assets.lake.lake import Lake
from morpho_assets.retry import retried

How = Literal["fails", "lost", "dies", "dies after"]
"""An operation fails and did nothing; it was done, and its answer is lost; the process dies before it, or after it."""
WAYS: tuple[How, ...] = ("fails", "lost", "dies", "dies after")


class Killed(BaseException):
    """The process died here."""


@dataclass
class Fault:
    """What happens at the `at`-th operation, from 1; at 0 nothing does, and operations are only counted."""

    at: int = 0
    how: How = "fails"
    error: type[OSError] = OSError
    seen: list[str] = field(default_factory=list)
    dead: bool = False
    when_dead: Callable[[], None] | None = None

    def __call__(self, name: str, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self.dead:
            raise Killed
        self.seen.append(name)
        if len(self.seen) != self.at:
            return operation(*arguments, **options)
        if self.how in ("lost", "dies after"):
            done = operation(*arguments, **options)
            if hasattr(done, "close"):
                done.close()
        if self.how in ("fails", "lost"):
            raise self.error(errno.EIO, f"operation {self.at}, {name}, {self.how}")
        if self.when_dead is not None:
            self.when_dead()
        self.dead = True
        raise Killed(f"at operation {self.at}, {name}")

    @property
    def happened(self) -> bool:
        return 0 < self.at <= len(self.seen)

    @property
    def name(self) -> str:
        """What the operation that was struck is called."""
        return self.seen[self.at - 1]


@dataclass
class FaultyFiles:
    """A store of which every operation is one that the fault may strike."""

    inner: Files
    fault: Fault = field(default_factory=Fault)

    def read(self, path: str) -> bytes:
        return self.fault("read", self.inner.read, path)

    def write(self, path: str, content: bytes) -> None:
        self.fault("write", self.inner.write, path, content)

    def put(self, path: str, local: str) -> None:
        self.fault("put", self.inner.put, path, local)

    def create(self, path: str, content: bytes) -> bool:
        return self.fault("create", self.inner.create, path, content)

    def remove(self, path: str) -> None:
        self.fault("remove", self.inner.remove, path)

    def find(self, folder: str) -> dict[str, Entry]:
        return self.fault("find", self.inner.find, folder)

    def entry(self, path: str) -> Entry | None:
        return self.fault("entry", self.inner.entry, path)

    def holds(self, folder: str) -> bool:
        return self.fault("holds", self.inner.holds, folder)

    @property
    def remote(self) -> bool:
        return self.inner.remote

    @property
    def system(self) -> Any:
        return self.inner.system  # type: ignore[attr-defined]

    @property
    def store(self) -> Any:
        return self.inner.store  # type: ignore[attr-defined]

    def url(self, path: str) -> str:
        return self.inner.url(path)

    def aside(self, path: str) -> str:
        return self.inner.aside(path)


class Bucket(AbstractFileSystem):
    """An object store in memory, which answers as s3fs does; every request is one that the fault may strike."""

    protocol = "s3"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, datetime] = {}
        self.fault = Fault()
        self.lock = threading.Lock()

    def files(self) -> ObjectFiles:
        """A store on it."""
        found = ObjectFiles("s3://bucket/lake")
        vars(found)["store"] = self
        return found

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return self.fault("get", self._object, path)[start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self.fault("put", self._put, path, value, mode)

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.fault("put", self._put, rpath, Path(lpath).read_bytes())

    def rm_file(self, path: str) -> None:
        self.fault("delete", self.objects.pop, self._strip_protocol(path), None)

    def find(self, path: str, prefix: str = "", **options: Any) -> dict[str, dict[str, Any]]:
        start = f"{self._strip_protocol(path)}/{prefix}"
        return self.fault("list", lambda: {name: self._described(name) for name in list(self.objects)
                                           if name.startswith(start)})  # fmt: skip

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return self.fault("head", self._described, self._strip_protocol(path))

    def _object(self, path: str) -> bytes:
        try:
            return self.objects[self._strip_protocol(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _put(self, path: str, value: bytes, mode: str = "overwrite") -> None:
        name = self._strip_protocol(path)
        with self.lock:
            if mode == "create" and name in self.objects:
                answer = {"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": {"HTTPStatusCode": 412}}
                raise OSError(errno.EINVAL, "PreconditionFailed") from ClientError(answer, "PutObject")
            self.objects[name] = value
            self.written[name] = datetime.now(UTC)

    def _described(self, name: str) -> dict[str, Any]:
        body = self._object(name)
        tag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return {"name": name, "type": "file", "size": len(body), "ETag": tag, "LastModified": self.written[name]}


@contextmanager
def no_pauses() -> Iterator[None]:
    """What is tried again is so at once."""
    at_once = partial(retried, pause=lambda seconds: None)
    with patch.object(files, "retried", at_once), patch.object(store, "retried", at_once):
        yield


def lake_over(opened: Files) -> Lake:
    """A lake on a store that is there already."""
    lake = Lake(opened.url(""))
    vars(lake)["files"] = opened
    return lake


@contextmanager
def disk(fault: Fault, *folders: Path) -> Iterator[None]:
    """Let the fault strike the disk: what is asked of the operating system for files in these folders.

    Where the process dies the power goes too: of a file that was not synced half is left, and a name that its folder
    was not synced with is gone.
    """
    roots = tuple(str(folder) for folder in folders)
    power = _Power(roots)
    fault.when_dead = power.goes
    plain_sync, plain_open = os.fsync, builtins.open

    def struck(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and str(path).startswith(roots):
                return fault(name, operation, path, *arguments, **options)
            return operation(path, *arguments, **options)

        return call

    def sync(handle: int) -> None:
        fault("fsync", plain_sync, handle)
        power.synced(handle)

    with ExitStack() as changed:
        changed.enter_context(patch.object(os, "fsync", sync))
        for module in (builtins, io):
            changed.enter_context(patch.object(module, "open", struck("open", plain_open)))
        for name in ("replace", "rename", "link", "remove", "mkdir", "scandir", "stat"):
            changed.enter_context(patch.object(os, name, struck(name, getattr(os, name))))
        yield


class _Power:
    """Which files and names would be there after a power cut."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self.roots = roots
        self.files = {_inode(path) for path in self._paths() if os.path.isfile(path)}
        self.names = {(path, _inode(path)) for path in self._paths()}

    def synced(self, handle: int) -> None:
        self.files.add(os.fstat(handle).st_ino)
        folder = os.readlink(f"/proc/self/fd/{handle}")
        if os.path.isdir(folder):
            self.names |= {(path, _inode(path)) for path in (f"{folder}/{name}" for name in os.listdir(folder))}

    def goes(self) -> None:
        for path in self._paths():
            if not os.path.lexists(path):  # it was in a folder that is gone
                continue
            if os.path.isfile(path) and _inode(path) not in self.files:
                os.truncate(path, os.path.getsize(path) // 2)
            if (path, _inode(path)) not in self.names and path not in {name for name, _ in self.names}:
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def _paths(self) -> list[str]:
        return [
            os.path.join(folder, name)
            for root in self.roots
            for folder, folders, files in os.walk(root)
            for name in [*folders, *files]
        ]


def _inode(path: str) -> int:
    return os.lstat(path).st_ino
