"""What a disk or an object store refuses, told in one sentence: no space, no permission, no such key or place."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from morpho_assets.errors import LakeError, MorphoError
from morpho_assets.retry import answer_of, network_faults

_FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is too large"}
_FREE = "Free some, or set `lake`, `images.folder` or `catalog` to another disk; finished sites are kept."
_CLOSED = {errno.EROFS: "the disk is read-only", errno.EACCES: "permission denied", errno.EPERM: "not permitted"}
_OPEN = "Give whoever runs this the right to it, or set another place in the settings."
_SQLITE = {"SQLITE_FULL": "no space is left", "SQLITE_READONLY": "it is read-only", "SQLITE_CANTOPEN": "it may not be "
           "opened", "SQLITE_IOERR": "the disk does not take it"}  # fmt: skip
"""SQLite's codes, of which the longer ones begin with these, for the database of Dagster."""
_REFUSED = (400, 401, 403)


def refusal(error: BaseException, where: str = "") -> str | None:
    """What was refused, with what to do; None for an error that is no refusal, nor comes of one.

    `where` is the place that was asked, for errors that do not say it.
    """
    return next((said for said in (_said(each, where) for each in _chain(error)) if said), None)


@contextmanager
def told(where: str = "") -> Iterator[None]:
    """Raise what is refused in the block as LakeError, in one sentence."""
    try:
        yield
    except MorphoError:
        raise
    except Exception as error:
        sentence = refusal(error, where)
        if sentence is None:
            raise
        raise LakeError(sentence) from error


# Below: how


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it comes of."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _said(error: BaseException, where: str) -> str | None:
    code = getattr(error, "sqlite_errorname", "")
    if reason := next((said for start, said in _SQLITE.items() if code.startswith(start)), None):
        return f"Dagster's database cannot be written: {reason}. Free space, or set MORPHO_STATE_DIR elsewhere."
    answer = answer_of(error)
    if answer is not None and answer.status in _REFUSED:
        todo = "Check the key, the secret and what the account may do (`lake_options`, or the environment)."
        return f"{where or 'the object store'} refuses ({answer.status} {answer.code}). {todo}"
    number = _number(error)
    if number in _FULL | _CLOSED:
        named = getattr(error, "filename", None)
        place = os.fsdecode(named) if isinstance(named, str | bytes) else where or "a file"
        return (
            f"{place} cannot be written: {_FULL[number]}. {_FREE}"
            if number in _FULL
            else (f"{place}: {_CLOSED[number]}. {_OPEN}")
        )
    if isinstance(error, network_faults()) and _is_of_a_store(error):
        todo = "Check the network, `endpoint_url` and the credentials of `lake_options`."
        return f"{where or 'the object store'} does not answer ({type(error).__name__}: {error}). {todo}"
    return None


def _number(error: BaseException) -> int:
    """The system's number of an error; DuckDB tells only its words."""
    if isinstance(error, OSError):
        return error.errno or 0
    if type(error).__module__.lstrip("_").startswith("duckdb"):
        return next((number for number in _FULL | _CLOSED if os.strerror(number) in str(error)), 0)
    return 0


def _is_of_a_store(error: BaseException) -> bool:
    """Whether what failed is a connection, and no file."""
    return not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError)
