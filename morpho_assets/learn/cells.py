"""Cells (or tiles, or whole sites) as an encoder gets them: windows with named channels, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError


@dataclass(frozen=True)
class Cells:
    """Windows around n cells, or of n tiles or sites.

    `crops` (n, C, S, S) float32 raw intensities; `channels` names the C. `own` (n, S, S) bool says which pixels are the
    cell's own (of a tile or site, any cell's), where an encoder wants to know. `plates` (n,) names the plate of each,
    where there are several.
    """

    crops: NDArray[np.float32]
    channels: tuple[str, ...]
    own: NDArray[np.bool_] | None = None
    plates: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> Cells:
        own = None if self.own is None else self.own[rows]
        plates = None if self.plates is None else self.plates[rows]
        return replace(self, crops=self.crops[rows], own=own, plates=plates)

    def seeing(self, channels: Sequence[str], side: int, own: bool) -> Cells:
        """The same with these channels alone, in this order. InputError for one that is not there, for windows of
        another side, and for windows without own pixels where an encoder needs them."""
        found = f"{', '.join(self.channels)}; windows {self.crops.shape[1:]}"
        do = "Cut windows as the encoder's card says: its channels, crop_size and shrink."
        if self.crops.ndim != 4 or self.crops.shape[1] != len(self.channels):
            raise InputError("cells", "channels", found, "a name for each channel, windows (n, C, S, S)", do)
        missing = [name for name in channels if name not in self.channels]
        if missing or self.crops.shape[2:] != (side, side):
            expected = f"the channels {', '.join(channels)}, windows of {side} x {side}"
            raise InputError("cells", f"channel {missing[0]}" if missing else "windows", found, expected, do)
        if own and (self.own is None or self.own.shape != (len(self), side, side)):
            raise InputError("cells", "own", "no pixels of the cell's own", "`own_pixels` of each window", do)
        if tuple(channels) == self.channels:
            return self
        order = [self.channels.index(name) for name in channels]
        return replace(self, crops=self.crops[:, order], channels=tuple(channels))


def joined(parts: Sequence[Cells]) -> Cells:
    """Cells of several sites as one; all have the same channels."""
    first = parts[0]
    own = None if first.own is None else np.concatenate([part.own for part in parts if part.own is not None])
    plates = (
        None if first.plates is None else np.concatenate([part.plates for part in parts if part.plates is not None])
    )
    return Cells(np.concatenate([part.crops for part in parts]), first.channels, own, plates)
