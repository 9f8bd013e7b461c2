"""Heads over the cells of wells: what they learn, what they start from, and what they may see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError

from morpho_assets.errors import InputError
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.learn.networks.pooled import SetHead, pooled
from morpho_assets.learn.set_study import learn_sets
from morpho_assets.learn.sets import Lesson, SetConfig, fit_set, in_units_of, sets_of, twins_of_set
from morpho_assets.learn.verdict import LEARNED, NOT_TRAINED
from morpho_assets.profiles.study import read_space, space_features
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import commit_tables, commit_work, plate, study, study_work
from morpho_assets_tests.learn.plates import EMPTY, WELLS, embed, spaces_of, train, write_plates
from morpho_assets_tests.learn.test_study import PATCHES

QUICK = {"components": 16, "hidden": 32, "cells": 16, "epochs": 40, "batch": 32}


def lesson(plates: int, seed: int, treatments: int = 12, cells: int = 30, numbers: int = 20) -> Lesson:
    """Wells of treatments on plates, two each. A third of a treatment's cells answer, in two of the numbers, and its
    cells vary in twelve other numbers much more, by well as well: the plain mean hides what there is."""
    ways = np.random.default_rng(99).normal(size=(treatments, 2))
    rng = np.random.default_rng(seed)
    values, wells, where, names = [], [], [], []
    for on in range(plates):
        for treatment in range(treatments):
            for repeat in range(2):
                own = rng.normal(size=(cells, numbers))
                own[:, 8:] = 3 * own[:, 8:] + rng.normal(size=numbers - 8)
                own[: cells // 3, :2] += 3 * ways[treatment]
                values.append(own)
                wells += [f"P{on} {'AB'[repeat]}{treatment:02d}"] * cells
                where += [f"P{on}"] * cells
                names += [f"drug {treatment:02d}"] * cells
    block = np.concatenate(values).astype(np.float32)
    named = {"features": tuple(f"Cells_{number}" for number in range(numbers))}
    return Lesson({"features": block}, named, np.array(wells), np.array(where), np.array(names))


def recognised(config: SetConfig, of: Lesson, unseen: Lesson) -> float:
    """Share of unseen wells whose nearest well on another plate has their treatment."""
    fitted = fit_set(config, of)
    found = fitted.encode(unseen.blocks)
    names, first = np.unique(unseen.wells, return_index=True)
    wells = np.stack([fitted.well(found[unseen.wells == name]) for name in names])
    unit = wells / np.linalg.norm(wells, axis=1, keepdims=True)
    alike = unit @ unit.T
    alike[unseen.plates[first][:, None] == unseen.plates[first][None]] = -2
    return float(np.mean(unseen.treatments[first][alike.argmax(axis=1)] == unseen.treatments[first]))


def test_a_head_finds_on_new_plates_what_the_mean_hides():
    of, unseen = lesson(4, 0), lesson(3, 1)
    learned, mean, untrained = (
        recognised(SetConfig.model_validate({**QUICK, **own}), of, unseen)
        for own in ({}, {"ladder": "mean"}, {"untrained": True})
    )
    assert learned > mean + 0.15
    assert learned > untrained + 0.15
    assert mean > 1 / 12


def test_permuted_treatments_are_found_no_better_than_by_the_mean():
    of, unseen = lesson(3, 0), lesson(3, 1)
    mean = recognised(SetConfig.model_validate({**QUICK, "ladder": "mean"}), of, unseen)
    found = []
    for seed in range(3):
        names = np.unique(of.wells)
        drugs = np.random.default_rng(seed).permutation([f"drug {number % 12:02d}" for number in range(len(names))])
        given = dict(zip(names, drugs, strict=True))
        told = Lesson(of.blocks, of.names, of.wells, of.plates, np.array([given[well] for well in of.wells]))
        found.append(recognised(SetConfig.model_validate({**QUICK, "seed": seed}), told, unseen))
    assert np.mean(found) < mean + 0.1  # 72 wells: two standard errors of a share of 0.2


def test_a_head_starts_as_the_plain_mean_and_its_card_says_what_it_saw():
    of = lesson(2, 0)
    start = SetHead(5, 8, 0.1)
    cells = torch.rand(7, 5)
    torch.testing.assert_close(start(cells), cells)
    assert not torch.allclose(SetHead(5, 8, 0.1, drawn=True)(cells), cells)
    learned, mean = (
        fit_set(SetConfig.model_validate({**QUICK, "ladder": each}), of).card for each in ("learned", "mean")
    )
    assert (learned.verdict, mean.verdict) == (LEARNED, NOT_TRAINED)
    assert len(learned.seen.labels) == 12
    assert mean.seen.labels == ()
    assert set(learned.seen.wells) == set(of.wells)
    assert len(learned.seen.validation_wells) == 2 * 2 * 2  # two of twelve treatments, whole
    assert learned.losses.trivial > min(learned.losses.validation)


def test_a_fit_repeats_itself():
    of = lesson(2, 0)
    first, again = (fit_set(SetConfig.model_validate({**QUICK, "epochs": 3, "min_epochs": 1}), of) for _ in range(2))
    assert first.save() == again.save()


def test_wells_are_means_over_their_cells():
    cells = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]])
    targets = torch.tensor([[0, 7, 1], [0, 7, 1], [2, 3, 0]])
    means, of = pooled(cells, targets)
    assert means.tolist() == [[5.0, 5.0], [2.0, 3.0]]
    assert of.tolist() == [[2, 3, 0], [0, 7, 1]]


def test_batches_are_of_wells_with_partners_on_other_plates():
    of = lesson(2, 0, treatments=3, cells=12)
    numbers = (np.unique(names, return_inverse=True)[1] for names in (of.treatments, of.wells, of.plates))
    targets = np.stack(list(numbers), axis=1)
    batch, *_ = sets_of(np.arange(len(targets)), np.random.default_rng(0), targets, cells=4, batch=64)
    wells, count = np.unique(targets[batch, 1], return_counts=True)
    assert (count == 4).all()
    assert len(np.unique(batch)) == len(batch)
    for treatment in range(3):
        assert len(np.unique(targets[batch][targets[batch, 0] == treatment, 2])) != 1
    assert len(wells) > 3


@pytest.mark.parametrize(("cells", "shown"), [(1, 1), (2, 1), (3, 1), (10, 4), (300, 32)])
def test_a_third_of_a_well_is_shown_at_most(cells, shown):
    wells = np.repeat(np.arange(4), cells)
    targets = np.stack([wells // 2, wells, wells % 2], axis=1)
    for batch in sets_of(np.arange(len(targets)), np.random.default_rng(0), targets, cells=32, batch=4):
        assert set(np.unique(targets[batch, 1], return_counts=True)[1]) == {shown}


def test_numbers_are_in_units_of_controls():
    controls = np.array([[0.0, 1, np.nan], [1, 1, np.nan], [2, 1, np.nan]])
    found = in_units_of(np.array([[1 + 1.4826, 5, 1], [1e9, 1, 1], [np.nan, 1, 1]]), controls)
    np.testing.assert_allclose(found, [[1, 0, 0], [10, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert not in_units_of(np.ones((2, 3)), np.empty((0, 3))).any()


def test_one_well_and_wells_without_partners_are_refused():
    of = lesson(1, 0, treatments=1)
    one = Lesson({"features": of.blocks["features"][:30]}, of.names, of.wells[:30], of.plates[:30], of.treatments[:30])
    with pytest.raises(InputError, match="at least two"):
        fit_set(SetConfig(), one)
    alone = Lesson(of.blocks, of.names, of.wells, of.plates, of.wells)
    with pytest.raises(InputError, match="no treatment with two wells"):
        fit_set(SetConfig(), alone)


def test_twins_are_drawn_mean_and_median():
    assert set(twins_of_set({"encoder": "net"})) == {"_untrained", "_started", "_median"}
    assert all(not twins_of_set(twin) for twin in twins_of_set({}).values())
    assert twins_of_set({"twin": False}) == {}


# In a study


def asked(**settings: object) -> Study:
    return Study.model_validate({
        "name": "s", "title": "S", "encoders": {"net": {**PATCHES, "twin": False}},
        "sets": {"set": {"encoder": "net", **QUICK, "epochs": 2, "min_epochs": 1, "validation": 0.4, **settings}},
        "spaces": {"set": {"of": "set"}}, "evaluators": {},
    })  # fmt: skip


def measured(lake: Lake, key: str, embedded: pl.DataFrame) -> None:
    """Measurements of the cells of a plate, one of which is missing here and there."""
    cells = embedded.filter(Metadata_Plate=key).select(
        "Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"
    )
    rng = np.random.default_rng(3)
    area = pl.Series(rng.normal(100, 5, cells.height))
    frame = cells.with_columns(
        Cells_AreaShape_Area=area, Cells_Location_Center_X=area, Nuclei_Intensity_MeanIntensity_DNA=pl.Series(
            [None if number % 7 == 0 else float(number) for number in range(cells.height)])
    )  # fmt: skip
    commit_tables(lake, "single_cells", plate(key), {"single_cells": frame})


def learned(lake: Lake, of: Study, sources: Mapping[str, Any]) -> Snapshot:
    """The tables of the stage `sets`, after an encoder, its embeddings and the cells of every plate."""
    train(lake, of, "net", sources)
    embedded = embed(lake, of, "net", sources)
    for key in sources:
        measured(lake, key, embedded)
    work = study_work(lake, "sets", of, sources)
    learn_sets(work)
    commit_work(work)
    return lake.latest(["sets"], [study("s")])


def test_a_study_sums_up_wells_by_sets_and_their_twins(tmp_path: Path):
    lake, keys = Lake(str(tmp_path / "lake")), ("P1", "P2")
    sources, of = write_plates(tmp_path, lake, keys), asked()
    assert list(of.sets) == ["set", "set_untrained", "set_started", "set_median"]
    assert list(of.spaces) == list(of.sets)
    tables = learned(lake, of, sources)
    profiles, encoders = tables.read("set_profiles", "s"), tables.read("encoders", "s")
    wells = set(WELLS) - {EMPTY}
    assert set(profiles["Metadata_Well"]) == wells
    assert profiles.height == len(of.sets) * len(keys) * len(wells)
    assert profiles["cells"].unique().to_list() == [9]
    first = encoders.filter(encoder="set").row(0, named=True)
    assert (first["kind"], first["unit"], len(first["wells"])) == ("set", "well", 10)
    assert first["labels"] == ["DMSO", "drug B01", "drug B02"]
    assert encoders.filter(encoder="set_started")["labels"].to_list() == [[]]
    mean, median = (
        profiles.filter(pl.col("set") == name)["embedding"].to_list() for name in ("set_started", "set_median")
    )
    assert not np.allclose(mean, median)
    spaces_of(lake, of, sources)
    space = read_space(lake.latest(["feature_space"], [study("s")]), "s", "set", "selected")
    assert len(space_features(space)) == first["numbers"]


def test_cross_fitted_plates_are_summed_up_by_folds_that_have_not_seen_them(tmp_path: Path):
    lake, keys = Lake(str(tmp_path / "lake")), ("P1", "P2", "P3")
    sources, of = write_plates(tmp_path, lake, keys), asked(cross_fit=3, ladder="mean", components=2)
    tables = learned(lake, of, sources)
    encoders = tables.read("encoders", "s").sort("fold")
    assert encoders["plates"].to_list() == [["P1"], ["P2"], ["P3"]]
    for row in encoders.iter_rows(named=True):
        own = json.loads(lake.read_bytes(row["path"]))["seen"]["plates"]
        assert set(own) == set(keys) - set(row["plates"])
    profiles = tables.read("set_profiles", "s")
    assert profiles.height == len(keys) * (len(WELLS) - 1)
    controls = profiles.filter(pl.col("Metadata_Well").is_in(["A01", "A02", "A03"]))
    means = controls.group_by("Metadata_Plate").agg(pl.col("embedding").list.first().mean())
    assert means["embedding"].max() - means["embedding"].min() < 1


def test_plates_and_encoders_that_are_not_there_are_refused():
    with pytest.raises((ValidationError, InputError), match="encoder of cells"):
        asked(encoder="other")
    with pytest.raises((ValidationError, InputError), match="neither an encoder nor features"):
        asked(encoder=None, features=False)
