"""Reading bytes from where a source keeps them: a folder, or an object store, with retries and verification."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.patterns import matching
from morpho_assets.gallery.zarr_planes import PlaneName, PlaneStamps, read_plane
from morpho_assets.retry import ATTEMPTS, attempts_for, faults, may_pass, retried

Had = TypeVar("Had")
GALLERY = "s3://cellpainting-gallery"
"""The public bucket of the Cell Painting Gallery; load_data files name their images under it."""


_WEB = ("https://", "http://")
_REMOTE = ("s3://", *_WEB)
WEB = "web"
"""The stamp of a file of a web server, which cannot be listed: it is taken not to change."""


@dataclass(frozen=True)
class Content:
    """A file that was read and verified: its bytes, their sha256 (hex), and the stamp it had then."""

    body: bytes
    sha256: str
    stamp: str


@dataclass(frozen=True)
class Store:
    """Where a source's files lie.

    `replace` maps the start of a path, as files write it, to where it lies for us: a mirror's root for the bucket's
    name, or a mount point of the machine that wrote the file. `endpoint_url` and `anonymous` are for object stores.
    """

    replace: Mapping[str, str] = field(default_factory=dict)
    endpoint_url: str | None = None
    anonymous: bool = True
    retries: int = ATTEMPTS - 1

    def resolve(self, path: str) -> str:
        """The path with the longest matching start replaced."""
        for start in sorted(self.replace, key=len, reverse=True):
            if path == start or path.startswith(start.rstrip("/") + "/"):
                return self.replace[start].rstrip("/") + path.removeprefix(start.rstrip("/"))
        return path

    def glob(self, pattern: str) -> list[str]:
        """The files and folders that match, sorted, a file's path as `read` takes it. A bucket that is not there has
        none.

        `*` stands for any part of a name and `**` for any folders; every other sign is itself.
        """
        return list(self._matching(pattern))

    def stamps(self, pattern: str) -> dict[str, str]:
        """The files that match, sorted, each with a stamp that changes with its content: its size, and its checksum or
        time of change. Raises InputError where the store does not answer."""
        return {path: _stamp(info) for path, info in self._matching(pattern).items() if info["type"] == "file"}

    def listing(self, folder: str) -> dict[str, str]:
        """The files in one folder, each with its stamp; none where there is no such folder, or on a web server."""
        folder = self.resolve(folder)
        if folder.startswith(_WEB):
            return {}
        scheme = "s3://" if folder.startswith("s3://") else ""
        try:
            found = self._asked(folder, lambda files: files.ls(folder, detail=True))
        except FileNotFoundError:
            return {}
        return {scheme + str(info["name"]): _stamp(info) for info in found if info["type"] == "file"}

    def read(self, path: str) -> Content:
        """A whole file. Network faults are tried again with growing pauses; a body of the wrong size or checksum too.

        Raises ImageError that says what failed, and how often it was tried; only that there is no such file is lasting.
        A plane of a Zarr array is a file as well (`zarr_planes`).
        """
        if plane := PlaneName.of(path):
            body, stamp = read_plane(plane, self.read)
            return Content(body, hashlib.sha256(body).hexdigest(), stamp)
        path = self.resolve(path)
        files = self._files(path)

        def whole() -> Content:
            info = self._info(path)
            body = bytes(files.cat_file(path))
            fault = _defect(body, info)
            if fault:
                raise _Broken(fault)
            return Content(body, hashlib.sha256(body).hexdigest(), WEB if path.startswith(_WEB) else _stamp(info))

        return self._had(path, whole)

    def start(self, path: str, size: int) -> bytes:
        """At most the first `size` bytes of a file. Raises ImageError as `read`."""
        if PlaneName.of(path):
            return self.read(path).body[:size]
        path = self.resolve(path)
        files = self._files(path)
        return self._had(path, lambda: bytes(files.cat_file(path, start=0, end=size)))

    def exists(self, path: str) -> bool:
        """Whether a file is there. A store that does not answer is no proof that it is not: then it counts as there."""
        plane = PlaneName.of(path)
        path = self.resolve(plane.array if plane else path)
        try:
            return bool(self._files(path).exists(path))
        except faults(_remote(path)):
            return True

    def planes(self) -> PlaneStamps:
        """The stamps of planes of Zarr arrays, which are no files: listed once, as long as the answer is kept."""
        return PlaneStamps(self.read, self.stamps, self.resolve)

    @contextmanager
    def local(self, path: str) -> Iterator[str]:
        """The path of a local copy, which is removed when the block ends; a file that is local is used where it lies.

        For formats that cannot be read from an object store. Raises ImageError for a file that cannot be copied.
        """
        path = self.resolve(path)
        if "://" not in path:
            yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, path.rsplit("/", 1)[-1])
            try:
                retried(lambda: self._files(path).get_file(path, copy), _remote(path), self.retries + 1)
            except faults(_remote(path)) as error:
                raise ImageError(path, f"cannot be copied ({type(error).__name__}: {error})") from None
            yield copy

    def matches(self, path: str, body: bytes) -> str | None:
        """The stamp of a file whose bytes we hold already, by the size and checksum its store gives; None where they
        are others, or the store gives no checksum."""
        if PlaneName.of(path):
            return None
        path = self.resolve(path)
        try:
            info = retried(lambda: self._info(path), _remote(path), self.retries + 1)
        except faults(_remote(path)) as error:
            raise ImageError(path, f"{type(error).__name__}: {error}", lasting=False) from None
        return None if _defect(body, info) or path.startswith(_WEB) else _stamp(info)

    def _had(self, path: str, call: Callable[[], Had]) -> Had:
        """What a call gives of a file. Raises ImageError that says what failed, and how often it was tried."""
        try:
            return retried(call, _remote(path), self.retries + 1)
        except FileNotFoundError:
            raise ImageError(path, "does not exist") from None
        except PermissionError as error:
            reason = f"may not be read ({error}); check anonymous and endpoint_url"
            raise ImageError(path, reason, lasting=False) from None
        except _Broken as error:
            raise ImageError(path, f"{error} (tried {self.retries + 1} times)", lasting=False) from None
        except faults(_remote(path)) as error:
            times = attempts_for(error, self.retries + 1)
            tried = f" (tried {times} times)" if may_pass(error, _remote(path)) else ""
            raise ImageError(path, f"{type(error).__name__}: {error}{tried}", lasting=False) from None

    def _matching(self, pattern: str) -> dict[str, Any]:
        """What the store says of each file and folder that matches."""
        pattern = self.resolve(pattern)
        if pattern.startswith(_WEB):
            literal = pattern.replace("[", "[[]").replace("?", "[?]")
            return dict(sorted(self._asked(pattern, lambda files: files.glob(literal, detail=True)).items()))
        scheme = "s3://" if pattern.startswith("s3://") else ""

        def listing(folder: str) -> list[dict[str, Any]]:
            try:
                return list(self._asked(f"{scheme}{folder}", lambda files: files.ls(scheme + folder, detail=True)))
            except (FileNotFoundError, NotADirectoryError):
                return []

        found = matching(self._files(pattern)._strip_protocol(pattern), listing)
        return {scheme + path: dict(info) for path, info in found.items()}

    def _asked(self, path: str, question: Callable[[Any], Any]) -> Any:
        """The answer of the store to a listing. Raises InputError where there is none."""
        try:
            return retried(lambda: question(self._files(path)), _remote(path), self.retries + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except faults(_remote(path)) as error:
            todo = "Check the network, `root`, `endpoint_url` and `anonymous`."
            raise InputError(path, "", f"{type(error).__name__}: {error}", "a store that answers", todo) from None

    def _info(self, path: str) -> dict[str, Any]:
        """Size and checksum, as the store tells them; what a web server calls an ETag is no checksum."""
        info = self._files(path).info(path)
        return info if path.startswith("s3://") else {key: value for key, value in info.items() if key != "ETag"}

    def _files(self, path: str) -> Any:
        scheme = path.split("://", 1)[0] if _remote(path) else "file"
        return _filesystem(scheme, self.endpoint_url, self.anonymous)


class _Broken(ConnectionError):
    """A body that is not what its store says of it: the transfer failed, and may succeed when it is tried again."""


def _remote(path: str) -> bool:
    return path.startswith(_REMOTE)


def _stamp(info: Mapping[str, Any]) -> str:
    """Names the content of a file by what its store says of it."""
    etag = str(info.get("ETag", "")).strip('"')
    return f"{info['size']} {etag or info.get('mtime')}"


def _defect(body: bytes, info: Mapping[str, Any]) -> str:
    """What is wrong with a body, by the size and the checksum its store gives; empty where nothing is."""
    if info["size"] is not None and len(body) != info["size"]:
        return f"truncated: {len(body)} of {info['size']} bytes came"
    etag = str(info.get("ETag", "")).strip('"')
    if len(etag) == 32 and etag != hashlib.md5(body, usedforsecurity=False).hexdigest():
        return "corrupted: its MD5 is not the store's"  # multi-part uploads have an ETag of another form
    return ""


@lru_cache(maxsize=8)
def _filesystem(protocol: str, endpoint_url: str | None, anonymous: bool) -> Any:
    import fsspec

    if protocol == "file":
        return fsspec.filesystem("file")
    if protocol != "s3":
        return fsspec.filesystem(protocol, use_listings_cache=False)
    client = {"endpoint_url": endpoint_url} if endpoint_url else {}
    limits = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
    files = fsspec.filesystem(
        "s3", anon=anonymous, client_kwargs=client, config_kwargs=limits, use_listings_cache=False
    )
    files.retries = 1  # a failed read is tried again here, where it is counted and told
    return files
