"""Wells of a plate: names, rows and columns, and the formats plates come in."""

from __future__ import annotations

import re

FORMATS = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}
"""Wells of a plate to its (rows, columns)."""

_NAME = re.compile(r"^([A-Z]|A[A-F])(\d{1,2})$")


def well_position(name: str) -> tuple[int, int]:
    """(row, column), both from 1, of a well such as `A01`, `p24` or `AF48`. Raises ValueError for anything else."""
    match = _NAME.match(name.strip().upper())
    if match is None:
        raise ValueError(f"{name!r} is no well such as A01 or AF48")
    letters, column = match[1], int(match[2])
    row = ord(letters[-1]) - ord("A") + 1 + (26 if len(letters) == 2 else 0)
    if not (1 <= column <= 48):
        raise ValueError(f"{name!r} has column {column}, which no plate has")
    return row, column


def well_name(row: int, column: int) -> str:
    """The name of the well at (row, column), both from 1: `A01` … `AF48`."""
    letters = chr(ord("A") + row - 1) if row <= 26 else "A" + chr(ord("A") + row - 27)
    return f"{letters}{column:02d}"


def fits(position: tuple[int, int], wells: int) -> bool:
    """Whether (row, column) lies on a plate of so many wells."""
    rows, columns = FORMATS[wells]
    return 1 <= position[0] <= rows and 1 <= position[1] <= columns
