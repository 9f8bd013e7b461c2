"""The files under the lake's root, in a local folder or an object store: the one module that touches either.

A path is relative to the root, with `/` between its parts; `quoted` makes a part of any name. A file appears whole
or not at all, and `create` fails where there is one already: on that the ledger stands. Listings are never cached.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import quote, unquote

from morpho_assets.retry import ATTEMPTS, answer_of, retried

ASIDE = ".aside"
"""The end of the name of a file that is being written; it is never listed."""


def quoted(name: str) -> str:
    """A name as a part of a path: letters, digits and `_-.~` of ASCII stay, all else is percent-encoded."""
    safe = quote(name, safe="")
    return safe.replace(".", "%2E") if set(safe) == {"."} else safe


def unquoted(part: str) -> str:
    return unquote(part)


@dataclass(frozen=True)
class Entry:
    """A file in a listing: its bytes, a stamp that changes with its content (ETag, or time and inode), and when it was
    written (seconds since 1970)."""

    size: int
    stamp: str
    written: float


class Files(Protocol):
    """What the lake asks of a store. Faults that may pass are retried by the store itself (`retry.py`)."""

    @property
    def remote(self) -> bool: ...

    def read(self, path: str) -> bytes:
        """A whole file. Raises FileNotFoundError where there is none."""

    def write(self, path: str, content: bytes) -> None:
        """Put a file in one step, over one that is there."""

    def put(self, path: str, local: str) -> None:
        """Put a local file, which is gone from its place afterwards, in one step."""

    def create(self, path: str, content: bytes) -> bool:
        """Put a file where there is none, in one step; False where there is one already.

        The answer can be lost on its way: a False may follow on one's own success. Who must know reads the file back.
        """

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def find(self, folder: str) -> dict[str, Entry]:
        """Every file under a folder, at any depth, by path; none where there is no such folder."""

    def entry(self, path: str) -> Entry | None:
        """One file, or None."""

    def holds(self, folder: str) -> bool:
        """Whether there is anything under a folder; costs the same however much that is."""

    def url(self, path: str) -> str:
        """The absolute path or address, as polars and DuckDB take it."""

    def aside(self, path: str) -> str:
        """A local path at which a file for `put(path, …)` may be written."""


@dataclass(frozen=True)
class LocalFiles:
    """A folder. A file is synced to the disk before it has its name, so that a power cut leaves none half there."""

    root: str

    remote = False

    def read(self, path: str) -> bytes:
        def whole() -> bytes:
            with open(self.url(path), "rb") as file:
                return file.read()

        return retried(whole, remote=False)

    def write(self, path: str, content: bytes) -> None:
        aside = self.aside(path)
        with _removed_unless_moved(aside):
            _write_synced(aside, content)
            self._move(aside, path)

    def put(self, path: str, local: str) -> None:
        aside = self.aside(path)
        with _removed_unless_moved(local), _removed_unless_moved(aside):
            shutil.move(local, aside)  # a copy where it lies on another disk
            _sync(aside)
            self._move(aside, path)

    def create(self, path: str, content: bytes) -> bool:
        aside = self.aside(path)
        with _removed_unless_moved(aside):
            _write_synced(aside, content)
            try:
                os.link(aside, self.url(path))  # unlike a rename, fails where the name is taken
            except FileExistsError:
                return False
            _sync(os.path.dirname(aside))
        return True

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.url(path))

    def find(self, folder: str) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        _walk(self.url(folder), folder, found)
        return dict(sorted(found.items()))

    def entry(self, path: str) -> Entry | None:
        try:
            status = os.stat(self.url(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(status.st_mode) else _entry(status)

    def holds(self, folder: str) -> bool:
        try:
            with os.scandir(self.url(folder)) as entries:
                return next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    def url(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def aside(self, path: str) -> str:
        folder = os.path.dirname(self.url(path))
        _make_folder(folder)
        return os.path.join(folder, f".{uuid.uuid4().hex}{ASIDE}")

    def _move(self, aside: str, path: str) -> None:
        os.replace(aside, self.url(path))
        _sync(os.path.dirname(aside))


@dataclass(frozen=True)
class ObjectFiles:
    """A prefix of an object store, through fsspec with its `options`."""

    root: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    attempts: int = ATTEMPTS

    remote = True

    def __reduce__(self) -> tuple[type[ObjectFiles], tuple[str, Mapping[str, Any], int]]:
        return type(self), (self.root, self.options, self.attempts)  # a worker opens the system itself, as below

    @cached_property
    def system(self) -> Any:
        """A file system for those who read parts of files, such as polars and DuckDB, under the same policy."""
        from morpho_assets.lake.reading import RetriedSystem

        return RetriedSystem(self)

    @cached_property
    def store(self) -> Any:
        """The fsspec file system. What it lists is never cached, and what it retries is retried here alone."""
        import fsspec

        limits = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
        settings = {**self.options, "use_listings_cache": False, "skip_instance_cache": False}
        settings["config_kwargs"] = {**limits, **settings.get("config_kwargs", {})}
        store = fsspec.filesystem(self.root.partition("://")[0], **settings)
        store.retries = 1
        return store

    def read(self, path: str) -> bytes:
        # in one stream: s3fs asks for the size first where it may fetch parts side by side
        return self.retried(lambda: bytes(self.store.cat_file(self.url(path), max_concurrency=1)))

    def write(self, path: str, content: bytes) -> None:
        self.retried(lambda: self.store.pipe_file(self.url(path), content))

    def put(self, path: str, local: str) -> None:
        with _removed_unless_moved(local):
            self.retried(lambda: self.store.put_file(local, self.url(path)))

    def create(self, path: str, content: bytes) -> bool:
        try:
            self.retried(lambda: self.store.pipe_file(self.url(path), content, mode="create"))
        except OSError as error:
            answer = answer_of(error)
            if answer is None or answer.status != 412:  # the precondition, that there be none, failed
                raise
            return False
        return True

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.retried(lambda: self.store.rm_file(self.url(path)))

    def find(self, folder: str) -> dict[str, Entry]:
        root, within = (f"{self.url(path).partition('://')[2].rstrip('/')}/" for path in ("", folder))
        bucket, _, prefix = within.partition("/")
        try:  # by prefix it is one request, also where there is nothing
            found = self.retried(lambda: self.store.find(bucket, prefix=prefix, detail=True))
        except FileNotFoundError:
            return {}
        return {
            name.removeprefix(root): _object_entry(info)
            for name, info in sorted(found.items())
            if info["type"] == "file" and name.startswith(within)
        }

    def entry(self, path: str) -> Entry | None:
        try:
            info = self.retried(lambda: self.store.info(self.url(path)))
        except FileNotFoundError:
            return None
        return _object_entry(info) if info["type"] == "file" else None

    def holds(self, folder: str) -> bool:
        return bool(self.retried(lambda: self.store.exists(self.url(folder))))

    def url(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def aside(self, path: str) -> str:
        import tempfile

        return os.path.join(tempfile.gettempdir(), f"{uuid.uuid4().hex}{ASIDE}")

    def retried(self, call: Any) -> Any:
        """A call to the store under the policy."""
        return retried(call, remote=True, attempts=self.attempts)


def open_files(root: str, options: Mapping[str, Any]) -> Files:
    """The files under a root: an absolute folder, or `s3://bucket/prefix` with fsspec's options for it."""
    return ObjectFiles(root, options) if "://" in root else LocalFiles(root)


@contextlib.contextmanager
def _removed_unless_moved(path: str) -> Iterator[None]:
    """What cannot be removed is swept later, and spoils nothing that was done."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.remove(path)


def _write_synced(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: str) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folder(folder: str) -> None:
    """Make a folder and those above it; a new name is on the disk only when the folder above is synced."""
    if not os.path.isdir(folder):
        above = os.path.dirname(folder)
        _make_folder(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        _sync(above)


def _walk(folder: str, path: str, found: dict[str, Entry]) -> None:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for each in entries:
        name = f"{path}/{each.name}" if path else each.name
        try:
            if each.is_dir():
                _walk(each.path, name, found)
            elif not each.name.endswith(ASIDE):
                found[name] = _entry(each.stat())
        except FileNotFoundError:  # removed while it was listed
            continue


def _entry(status: os.stat_result) -> Entry:
    return Entry(status.st_size, f"{status.st_mtime_ns}-{status.st_ino}", status.st_mtime)


def _object_entry(info: Mapping[str, Any]) -> Entry:
    written = info.get("LastModified")
    return Entry(int(info["size"]), str(info.get("ETag", "")).strip('"'), written.timestamp() if written else 0.0)
