"""One policy for every call to a disk or an object store: what may pass is tried again, what will not is raised.

The kind of a fault is decided by its type (and, of an OSError, by its number), never by its text.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

ATTEMPTS = 8
"""Of a network that spoils one request in ten, all of these fail one time in a hundred million: none of a screen's."""
UNANSWERED = 4
"""Where nobody is at the address an attempt more says nothing new: a wrong one is told within seconds."""
_LONGEST_PAUSE = 10.0  # seconds
_PASSING = {errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ESTALE, errno.ETIMEDOUT}
_PASSING_STATUS = {408, 409, 429}  # a time-out, a write at the same moment, too many requests
UNKNOWN_REQUEST = 501
"""The one fault of a server that will not pass."""
_PASSING_CODES = {"IncompleteBody", "BadDigest", "RequestTimeout", "SlowDown"}
_LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


def may_pass(error: BaseException, remote: bool) -> bool:
    """Whether a call that raised this may succeed when it is made again.

    Of a local disk that is an interrupted or busy call; of an object store (`remote`) any fault of the network or of
    the server, but not a missing object, a refusal, missing credentials or an address that cannot be one.
    """
    if isinstance(error, _LASTING):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    answer = answer_of(error)
    if answer is not None:
        passing = answer.status >= 500 and answer.status != UNKNOWN_REQUEST
        return passing or answer.status in _PASSING_STATUS or answer.code in _PASSING_CODES
    if remote and isinstance(error, network_faults()):
        return not isinstance(error, _hopeless())
    return isinstance(error, OSError) and error.errno in _PASSING


@dataclass(frozen=True)
class Answer:
    """What an object store answered: the HTTP status and S3's code, such as PreconditionFailed."""

    status: int
    code: str


def answer_of(error: BaseException) -> Answer | None:
    """The answer behind an error of s3fs, which keeps botocore's as its cause; None where no server answered."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Answer(int(status), str(response.get("Error", {}).get("Code", "")))


def faults(remote: bool) -> tuple[type[BaseException], ...]:
    """Everything that a disk, or the network and the server behind it, raises on its own."""
    return network_faults() if remote else (OSError,)


def retried(
    call: Callable[[], Result],
    remote: bool,
    attempts: int = ATTEMPTS,
    pause: Callable[[float], None] = time.sleep,
) -> Result:
    """The call's result; a fault that may pass is waited out, with pauses that grow from 0.2 to 10 seconds.

    Raises the last fault after `attempts` attempts (fewer where nobody answers), and at once one that will not pass.
    """
    for attempt in range(1, attempts):
        try:
            return call()
        except faults(remote) as error:
            if not may_pass(error, remote) or attempt >= attempts_for(error, attempts):
                raise
            pause(min(0.1 * 2**attempt, _LONGEST_PAUSE))
    return call()


def attempts_for(error: BaseException, attempts: int) -> int:
    """How often a call is made that ends with this fault each time."""
    return min(attempts, UNANSWERED) if _nobody_answers(error) else attempts


def _nobody_answers(error: BaseException) -> bool:
    from botocore.exceptions import EndpointConnectionError

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, EndpointConnectionError | ConnectionRefusedError | socket.gaierror):
            return True
        seen = seen.__cause__
    return False


def forgiven(remote: bool) -> AbstractContextManager[None]:
    """Passes over a fault, for what only tidies up or saves work: nothing that was done is undone by it."""
    return suppress(*faults(remote))


def network_faults() -> tuple[type[BaseException], ...]:
    """What s3fs and what lies under it raise."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    return (OSError, BotoCoreError, ClientError)


def _hopeless() -> tuple[type[BaseException], ...]:
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError, UnknownEndpointError, ValidationError

    return (NoCredentialsError, PartialCredentialsError, UnknownEndpointError, ValidationError)
