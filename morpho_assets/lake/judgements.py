"""What people say of plates: a plate, a well or a site is approved or rejected, with a reason and a name.

A judgement is a record beside the commits that nothing overwrites; of each place the last one is in force, and one that
is withdrawn is in force no more. Nothing measured is removed by it: profiles are made without what was rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

Said = Literal["approved", "rejected", "withdrawn"]


class Judgement(BaseModel):
    """A person's verdict on a plate, or on a well or a site of it. `site` is null for a well, both for a plate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate: str
    well: str | None = None
    site: int | None = None
    said: Said
    who: str
    reason: str
    at: str

    @property
    def place(self) -> str:
        """The place within its plate: `A01-1`, `A01`, or nothing for the plate itself."""
        return place_of(self.well, self.site)

    @property
    def text(self) -> str:
        return f"{self.said} ({self.by})"

    @property
    def by(self) -> str:
        """Name and reason: `Ann: bubbles`."""
        return f"{self.who}: {self.reason}"


InForce = Mapping[str, Judgement]
"""The judgements of a plate that are in force, by place."""


def place_of(well: str | None, site: int | None) -> str:
    """Names a place within its plate, as `Judgement.place`."""
    return "" if well is None else well if site is None else f"{well}-{site}"


def in_force(judgements: Iterable[Judgement]) -> dict[str, Judgement]:
    """The last judgement of each place, by place; not those that were withdrawn."""
    last = {each.place: each for each in sorted(judgements, key=lambda each: each.at)}
    return {place: each for place, each in sorted(last.items()) if each.said != "withdrawn"}


def of_profiles(judgements: InForce) -> tuple[dict[str, str], dict[str, str]]:
    """What profiles are made from: the rejected wells and sites with name and reason, and, likewise, the sites that
    were approved within a rejected well, which stay. A site's own judgement stands above its well's."""
    rejected = {place: each.by for place, each in judgements.items() if place and each.said == "rejected"}
    kept = {
        place: each.by
        for place, each in judgements.items()
        if each.said == "approved" and each.site is not None and each.well in rejected
    }
    return rejected, kept


def rejection_of_plate(judgements: InForce) -> str | None:
    """Why the plate as a whole is rejected, in words with what to do; None where it is not."""
    judgement = judgements.get("")
    if judgement is None or judgement.said != "rejected":
        return None
    undo = f"`morpho verdict withdraw --plate {judgement.plate} --reason …` takes it back"
    return f"plate {judgement.plate} was rejected by {judgement.by} ({undo})"
