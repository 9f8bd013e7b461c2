"""Reading parts of files of an object store, as polars and DuckDB do, under the one policy of retries."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
    from morpho_assets.lake.files import ObjectFiles


class RetriedSystem(AbstractFileSystem):
    """A file system that only reads, through the calls of a store that are tried again.

    Files of the lake never change, and one that is named is there: nothing is asked twice, or before it is needed.
    """

    cachable = False

    def __init__(self, files: ObjectFiles) -> None:
        super().__init__()
        self.files = files
        self.protocol = files.root.partition("://")[0]
        self._known: dict[str, dict[str, Any]] = {}

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        if path not in self._known:
            self._known[path] = self.files.retried(lambda: self.files.store.info(path))
        return dict(self._known[path])

    def glob(self, path: str, **options: Any) -> list[str]:
        """The path itself. DuckDB asks for each of the files that a view lists, of which it may read one."""
        return [path]

    def modified(self, path: str) -> datetime:
        """When a file was written, which DuckDB asks for."""
        written = self.info(path)["LastModified"]
        assert isinstance(written, datetime)
        return written

    def _open(self, path: str, mode: str = "rb", **options: Any) -> _RetriedFile:
        return _RetriedFile(self, path, mode, cache_type="readahead")


class _RetriedFile(AbstractBufferedFile):
    """A file of which ranges are fetched, each tried again where it fails."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        store = self.fs.files.store
        return bytes(self.fs.files.retried(lambda: store.cat_file(self.path, start=start, end=end)))
