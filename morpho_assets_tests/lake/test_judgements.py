"""What people say of plates: which verdict is in force, and what profiles take of it."""

from __future__ import annotations

from typing import Any

from morpho_assets.lake.judgements import Judgement, in_force, of_profiles, rejection_of_plate
from morpho_assets.lake.lake import Lake


def said(what: Any, well: str | None = None, site: int | None = None, at: int = 0, who: str = "Ann") -> Judgement:
    return Judgement(
        plate="P1", well=well, site=site, said=what, who=who, reason="bubbles", at=f"2026-01-01T00:00:0{at}"
    )


def test_of_each_place_the_last_one_is_in_force_and_a_withdrawn_one_is_not() -> None:
    told = [
        said("approved", "A01", at=3), said("rejected", "A01", at=1), said("rejected", at=1), said("withdrawn", at=2),
        said("rejected", "A01", 2, at=1), said("rejected", "A02", at=1), said("withdrawn", "A02", at=2),
    ]  # fmt: skip
    assert {place: each.said for place, each in in_force(told).items()} == {"A01": "approved", "A01-2": "rejected"}
    assert in_force([]) == {}


def test_profiles_are_made_without_what_is_rejected_and_a_site_stands_above_its_well() -> None:
    told = in_force([
        said("rejected", "A01"), said("approved", "A01", 2, who="Ben"), said("rejected", "B02", 1),
        said("approved", "B02"), said("approved", "C03", 1), said("approved"),
    ])  # fmt: skip
    assert of_profiles(told) == ({"A01": "Ann: bubbles", "B02-1": "Ann: bubbles"}, {"A01-2": "Ben: bubbles"})
    assert of_profiles({}) == ({}, {})


def test_a_rejected_plate_says_by_whom_why_and_how_that_is_undone() -> None:
    text = rejection_of_plate(in_force([said("rejected")]))
    assert text == (
        "plate P1 was rejected by Ann: bubbles (`morpho verdict withdraw --plate P1 --reason …` takes it back)"
    )
    assert rejection_of_plate(in_force([said("approved"), said("rejected", "A01")])) is None


def test_the_ledger_keeps_every_one_in_order(tmp_path: Any) -> None:
    ledger = Lake(str(tmp_path)).ledger
    for each in (said("rejected", "A01", at=2), said("approved", "A01", at=1)):
        ledger.judge(each)
    assert [each.said for each in ledger.state().judgements["P1"]] == ["approved", "rejected"]
    assert ledger.state().in_force("P1")["A01"].said == "rejected"
    assert ledger.state().in_force("P2") == {}
