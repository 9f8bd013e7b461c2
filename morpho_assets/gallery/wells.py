"""Wells of a plate: names, rows and columns, and the formats plates come in."""

from __future__ import annotations

import re

FORMATS = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}
"""Wells of a plate to its (rows, columns)."""

_LETTERS = re.compile(r"([A-Z]|A[A-F])[ _-]*0*([0-9]{1,2})")
_NUMBERS = re.compile(r"R(?:OW)?[ _-]*0*([0-9]{1,2})[ _-]*C(?:OL)?[ _-]*0*([0-9]{1,2})")


def well_position(name: str) -> tuple[int, int]:
    """(row, column), both from 1, of a well such as `A01`, `p24`, `AF48`, `A - 1` or `r01c01`.

    Raises ValueError for anything else, above all for names that could be two wells, such as `101` or `1A`.
    """
    text = name.strip().upper()
    if match := _LETTERS.fullmatch(text):
        row, column = row_number(match[1]), int(match[2])
    elif match := _NUMBERS.fullmatch(text):
        row, column = int(match[1]), int(match[2])
    else:
        raise ValueError(f"{name!r} is no well such as A01, AF48 or r01c01")
    rows, columns = FORMATS[1536]
    for what, value, last in (("row", row, rows), ("column", column, columns)):
        if not 1 <= value <= last:
            raise ValueError(f"{name!r} has {what} {value}, which no plate has")
    return row, column


def row_number(letters: str) -> int:
    """The number of a row: 1 of `A` or `1`, 32 of `AF`. Raises ValueError for anything else."""
    text = letters.strip().upper()
    if re.fullmatch(r"[A-Z]|A[A-F]", text):
        return ord(text[-1]) - ord("A") + 1 + (26 if len(text) == 2 else 0)
    if re.fullmatch(r"[0-9]{1,2}(\.0*)?", text):
        return int(float(text))
    raise ValueError(f"{letters!r} is no row such as A or 1")


def well_name(row: int, column: int) -> str:
    """The name of the well at (row, column), both from 1: `A01` … `AF48`."""
    letters = chr(ord("A") + row - 1) if row <= 26 else "A" + chr(ord("A") + row - 27)
    return f"{letters}{column:02d}"


def fits(position: tuple[int, int], wells: int) -> bool:
    """Whether (row, column) lies on a plate of so many wells."""
    rows, columns = FORMATS[wells]
    return 1 <= position[0] <= rows and 1 <= position[1] <= columns
