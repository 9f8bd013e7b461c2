"""What an encoder saw of the scored wells, case by case."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import TypeAdapter

from morpho_assets.learn.seen import encoders_of, what_was_seen
from morpho_assets.profiles.space import SpaceConfig

WELLS = pl.DataFrame({
    "Metadata_Plate": ["P1"] * 4 + ["P2"] * 2,
    "Metadata_Well": ["A01", "A02", "A03", "A04", "A01", "A02"],
    "Metadata_Perturbation": ["DMSO", "drug@1", "drug@5", "other@1", "DMSO", "drug@5"],
    "Metadata_pert_iname": ["DMSO", "drug", "drug", "other", "DMSO", "drug"],
    "Metadata_control_type": ["negcon", None, None, None, "negcon", None],
})  # fmt: skip


def encoder(wells: list[str], labels: list[str] | None = None) -> pl.DataFrame:
    schema = {"encoder": pl.String, "wells": pl.List(pl.String), "labels": pl.List(pl.String)}
    return pl.DataFrame({"encoder": ["e"], "wells": [wells], "labels": [labels or []]}, schema=schema)


@pytest.mark.parametrize(
    ("wells", "labels", "plate", "saw"),
    [
        (["P1 A01"], [], "P1", "nothing"),  # controls are no treatment that is scored
        (["P1 A02"], [], "P1", "wells, treatments, compounds"),
        (["P1 A03"], [], "P2", "treatments, compounds"),  # the same treatment, of another plate
        (["P1 A02"], [], "P2", "compounds"),  # another dose of it
        (["P1 A04"], [], "P2", "nothing"),
        (["P1 A03"], ["drug@5"], "P2", "treatments, compounds, labels"),
        (["P1 A04"], ["other@1"], "P2", "nothing"),  # told a label, of a treatment that is not scored
    ],
)
def test_cases(wells, labels, plate, saw):
    assert what_was_seen(encoder(wells, labels), WELLS, WELLS.filter(Metadata_Plate=plate)) == saw


def test_two_encoders_saw_what_either_saw_and_none_is_null():
    both = pl.concat([encoder(["P1 A02"]), encoder(["P1 A03"], ["drug@5"])])
    assert what_was_seen(both, WELLS, WELLS.filter(Metadata_Plate="P2")) == "treatments, compounds, labels"
    assert what_was_seen(both.clear(), WELLS, WELLS) is None


def test_encoders_behind_a_space_are_found_through_other_spaces():
    spaces = {
        "cells": {"of": "cells"},
        "deep": {"of": "embedding", "encoder": "vae"},
        "both": {"of": "space", "space": "cells", "steps": [{"join": {"spaces": ["deep", "own"]}}]},
        "own": {"of": "embedding"},
    }
    read = TypeAdapter(dict[str, SpaceConfig]).validate_python(spaces)
    assert {name: encoders_of(read, name) for name in read} == {
        "cells": set(), "deep": {"vae"}, "both": {"vae", "own"}, "own": {"own"},
    }  # fmt: skip
