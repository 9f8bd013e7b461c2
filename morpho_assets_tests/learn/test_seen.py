"""What an encoder saw of the scored wells, case by case."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import TypeAdapter

from morpho_assets.learn.seen import encoder_of_plate, encoders_of, what_was_seen
from morpho_assets.profiles.space import SpaceConfig

WELLS = pl.DataFrame({
    "Metadata_Plate": ["P1"] * 4 + ["P2"] * 2,
    "Metadata_Well": ["A01", "A02", "A03", "A04", "A01", "A02"],
    "Metadata_Perturbation": ["DMSO", "drug@1", "drug@5", "other@1", "DMSO", "drug@5"],
    "Metadata_pert_iname": ["DMSO", "drug", "drug", "other", "DMSO", "drug"],
    "Metadata_control_type": ["negcon", None, None, None, "negcon", None],
})  # fmt: skip


def encoder(
    wells: list[str], labels: list[str] | None = None, fold: int = 0, plates: tuple[str, ...] = (), name: str = "e"
) -> pl.DataFrame:
    texts = pl.List(pl.String)
    schema = {"encoder": pl.String, "fold": pl.Int32, "plates": texts, "wells": texts, "labels": texts}
    row = {"encoder": name, "fold": fold, "plates": list(plates), "wells": wells, "labels": labels or []}
    return pl.DataFrame([row], schema=schema)


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
    both = pl.concat([encoder(["P1 A02"]), encoder(["P1 A03"], ["drug@5"], name="f")])
    assert what_was_seen(both, WELLS, WELLS.filter(Metadata_Plate="P2")) == "treatments, compounds, labels"
    assert what_was_seen(both.clear(), WELLS, WELLS) is None


def test_each_plate_is_asked_of_the_fold_that_embeds_it():
    folds = pl.concat([encoder(["P2 A02"], fold=0, plates=("P1",)), encoder(["P1 A04"], fold=1, plates=("P2",))])
    both = pl.concat([encoder(["P2 A02", "P1 A04"])])  # one encoder that saw the same wells
    assert what_was_seen(both, WELLS, WELLS) == "wells, treatments, compounds"
    assert what_was_seen(folds, WELLS, WELLS) == "treatments, compounds"  # of other plates
    assert what_was_seen(folds, WELLS, WELLS.filter(Metadata_Plate="P2")) == "nothing"
    assert encoder_of_plate(folds, "P2")["fold"] == 1
    assert encoder_of_plate(folds, "P3")["fold"] == 0


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
