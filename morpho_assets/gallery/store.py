"""Reading bytes from where a source keeps them: a folder, or an object store, with retries and verification."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from morpho_assets.errors import ImageError, InputError

GALLERY = "s3://cellpainting-gallery"
"""The public bucket of the Cell Painting Gallery; load_data files name their images under it."""


_REMOTE = ("s3://", "https://", "http://")


@dataclass(frozen=True)
class Content:
    """A file that was read and verified: its bytes and their sha256 (hex)."""

    body: bytes
    sha256: str


@dataclass(frozen=True)
class Store:
    """Where a source's files lie.

    `replace` maps the start of a path, as files write it, to where it lies for us: a mirror's root for the bucket's
    name, or a mount point of the machine that wrote the file. `endpoint_url` and `anonymous` are for object stores.
    """

    replace: Mapping[str, str] = field(default_factory=dict)
    endpoint_url: str | None = None
    anonymous: bool = True
    retries: int = 4

    def resolve(self, path: str) -> str:
        """The path with the longest matching start replaced."""
        for start in sorted(self.replace, key=len, reverse=True):
            if path == start or path.startswith(start.rstrip("/") + "/"):
                return self.replace[start].rstrip("/") + path.removeprefix(start.rstrip("/"))
        return path

    def glob(self, pattern: str) -> list[str]:
        """The files that match, sorted, each a path that `read` takes. A bucket that does not exist has none."""
        pattern = self.resolve(pattern)
        scheme = "s3://" if pattern.startswith("s3://") else ""
        try:
            found = self._files(pattern).glob(pattern)
        except _faults(pattern) as error:
            todo = "Check the network, `root`, `endpoint_url` and `anonymous`."
            raise InputError(pattern, "", f"{type(error).__name__}: {error}", "a store that answers", todo) from None
        return sorted(scheme + str(path) for path in found)

    def read(self, path: str) -> Content:
        """A whole file. Network faults are tried again with growing pauses; a body of the wrong size or checksum too.

        Raises ImageError that says what failed, and how often it was tried.
        """
        path = self.resolve(path)
        files = self._files(path)
        fault = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(0.2 * 2**attempt, 10))
            try:
                info = self._info(path)
                body = bytes(files.cat_file(path))
            except FileNotFoundError:
                raise ImageError(path, "does not exist") from None
            except PermissionError as error:
                raise ImageError(path, f"may not be read ({error}); check anonymous and endpoint_url") from None
            except _faults(path) as error:
                fault = f"{type(error).__name__}: {error}"
                continue
            fault = _defect(body, info)
            if not fault:
                return Content(body, hashlib.sha256(body).hexdigest())
        raise ImageError(path, f"{fault} (tried {self.retries + 1} times)")

    def exists(self, path: str) -> bool:
        """Whether a file is there. A store that does not answer is no proof that it is not: then it counts as there."""
        path = self.resolve(path)
        try:
            return bool(self._files(path).exists(path))
        except _faults(path):
            return True

    def stamp(self, path: str) -> str:
        """Names a file's content without reading it: its path, size, and checksum or time of change."""
        path = self.resolve(path)
        info = self._files(path).info(path)
        return f"{path} {info['size']} {info.get('ETag') or info.get('mtime')}"

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
                self._files(path).get_file(path, copy)
            except _faults(path) as error:
                raise ImageError(path, f"cannot be copied ({type(error).__name__}: {error})") from None
            yield copy

    def matches(self, path: str, body: bytes) -> bool:
        """Whether bytes that we hold are those of the file, by the size and checksum its store gives."""
        path = self.resolve(path)
        return not _defect(body, self._info(path))

    def _info(self, path: str) -> dict[str, Any]:
        """Size and checksum, as the store tells them; what a web server calls an ETag is no checksum."""
        info = self._files(path).info(path)
        return info if path.startswith("s3://") else {key: value for key, value in info.items() if key != "ETag"}

    def _files(self, path: str) -> Any:
        scheme = path.split("://", 1)[0] if path.startswith(_REMOTE) else "file"
        return _filesystem(scheme, self.endpoint_url, self.anonymous)


def _faults(path: str) -> tuple[type[Exception], ...]:
    """What a store raises when the network or the disk is at fault."""
    if not path.startswith(_REMOTE):
        return (OSError,)
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    return (OSError, TimeoutError, BotoCoreError, ClientError)


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
    limits = {"retries": {"max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
    files = fsspec.filesystem(
        "s3", anon=anonymous, client_kwargs=client, config_kwargs=limits, use_listings_cache=False
    )
    files.retries = 1  # a failed read is tried again here, where it is counted and told
    return files
