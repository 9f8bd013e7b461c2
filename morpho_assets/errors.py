"""Every error that morpho-assets raises on purpose.

    MorphoError
    ├── InputError      a file or a setting that a person wrote is wrong: stop before any work
    │   ├── NothingLeft a selection leaves no feature
    │   └── NoSplit     rows cannot be split so that something is left to test
    ├── ImageError      one image cannot be used: one row in `site_failures`, the plate goes on
    └── LakeError       a table does not fit its declaration, or its inputs do not fit each other

A message names the file, the row or key, what was found, what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence


class MorphoError(Exception):
    """The root: `except MorphoError` catches what this package raises on purpose, and nothing else."""


class InputError(MorphoError):
    """A file or setting from a person is wrong.

    Parameters are the five parts of the message: `file` (path, or the name of the setting's file), `where`
    (row, column or key; may be empty), `found`, `expected` and `do` (what the reader can do about it). `others` are the
    faults of the same file behind the first.
    """

    def __init__(self, file: object, where: str, found: str, expected: str, do: str) -> None:
        self.file, self.where, self.found, self.expected, self.do = str(file), where, found, expected, do
        self.others: tuple[InputError, ...] = ()
        place = f"{file}, {where}" if where else str(file)
        super().__init__(f"{place}: found {found}; expected {expected}. {do}")

    def __str__(self) -> str:
        return super().__str__() + (f" There are {len(self.others)} more of this kind." if self.others else "")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, ...], dict[str, object]]:
        return type(self), (self.file, self.where, self.found, self.expected, self.do), {"others": self.others}


class NothingLeft(InputError):
    """A selection leaves no feature. With shuffled treatments that is an answer: there is nothing to find."""


class NoSplit(InputError):
    """Rows cannot be split as asked so that two classes are left to test: one well per treatment, one plate."""


def raise_first(faults: Sequence[InputError]) -> None:
    """Raise the first of several faults of a file, which keeps the others; nothing without any."""
    if faults:
        faults[0].others = tuple(faults[1:])
        raise faults[0]


class ImageError(MorphoError):
    """One image cannot be read or used; `path` says which, the message why.

    Not `lasting` is a fault of the network, the disk or the permissions: the image itself may be good, and is tried
    again by the next run.
    """

    def __init__(self, path: object, reason: str, lasting: bool = True) -> None:
        self.path, self.reason, self.lasting = str(path), reason, lasting
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, bool]]:
        return type(self), (self.path, self.reason, self.lasting)


class LakeError(MorphoError):
    """A table does not fit its declaration in `lake/tables.py`, or partitions that cannot be read together."""
