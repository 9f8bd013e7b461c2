"""An object store as DuckDB and pyarrow read it: ranges of files of the lake, each asked for by its full address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from morpho_assets.lake.files import ObjectFiles

_BLOCK = 2**20  # bytes that are fetched ahead


class LentFiles(AbstractFileSystem):
    """The files of a lake, to be read only. Every call goes through the lake's own policy of retries.

    They never change: what is known of one is not asked for again, and one that is named is there.
    """

    cachable = False

    def __init__(self, files: ObjectFiles) -> None:
        super().__init__()
        self.files = files
        self.protocol = files.root.partition("://")[0]
        self._known: dict[str, dict[str, Any]] = {}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self._known:
            self._known[path] = self.files.retried(lambda: self.files.system.info(path))
        return self._known[path]

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: who reads the lake names its files."""
        return [self._strip_protocol(path)]

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(0, UTC)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        return [self.info(path) if detail else self._strip_protocol(path)]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> _LentFile:
        return _LentFile(self, path, mode, block_size=_BLOCK)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.partition("://")[2] or path


class _LentFile(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        files = self.fs.files
        return files.retried(lambda: bytes(files.system.cat_file(self.path, start=start, end=end)))
