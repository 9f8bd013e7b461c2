"""Planted drivers of assays: each is found by its modality and by no other, and together where both drive."""

import numpy as np
import pytest

pytest.importorskip("rdkit")

from morpho_assets.predict.activity.baselines import BATCH, COUNT, POSITION, SHUFFLED, nuisances
from morpho_assets.predict.activity.compare import Question, answer
from morpho_assets.predict.activity.compounds import read_compounds
from morpho_assets.predict.activity.config import ActivityConfig, CompoundsFile, CompoundSplit
from morpho_assets.predict.activity.modalities import Modality
from morpho_assets.predict.activity.scores import mean_interval
from morpho_assets.predict.activity.structures import fingerprints, scaffold_groups, structures
from morpho_assets.simulator.screen import DRIVERS, ScreenDesign, draw_screen

MODALITIES = ("structure", "morphology", "expression")
CONFIG = ActivityConfig.model_validate({
    "assays": {"file": "assays.csv"}, "modalities": {name: {"of": "structure"} for name in MODALITIES},
    "model": {"kind": "logistic", "C": [3.0]}, "fusion": {"late": ["noisy_or"], "early": False}, "draws": 100,
})  # fmt: skip
TOGETHER = "noisy_or: structure + morphology + expression"


def question_of(screen) -> Question:
    names = screen.compounds["compound"].to_list()
    known = structures(screen.compounds["smiles"].to_list())
    bits = fingerprints(known["standard_smiles"].to_list())
    assays = screen.truth["assay"].to_list()
    wide = screen.assays.pivot("assay", index="compound", values="active")
    ordered = screen.compounds.select("compound").join(wide, on="compound", how="left", maintain_order="left")
    labels = ordered.select(assays).cast(float).fill_null(np.nan).to_numpy()
    tables = {"morphology": screen.morphology, "expression": screen.expression}
    modalities = {"structure": Modality("structure", bits, bits=True)}
    modalities |= {name: Modality(name, table.drop("compound").to_numpy()) for name, table in tables.items()}
    compounds = read_compounds(screen.compounds.write_csv().encode(), CompoundsFile(file="compounds.csv"))
    assert compounds["compound"].to_list() == names
    return Question(assays, labels, modalities, {}, nuisances(compounds), {"scaffold": scaffold_groups(known)}, bits)


@pytest.fixture(scope="module", params=[11])
def found(request):
    # all compounds in all assays: assays share their products, and the test its time
    screen = draw_screen(ScreenDesign(tested=1.0), seed=request.param)
    return screen, answer(question_of(screen), CONFIG, CompoundSplit())


def mean_of(found, name, driver, against=None):
    """(mean AUROC over the assays of a driver, or the difference to another predictor's, and its interval)."""
    screen, result = found
    here = (screen.truth["driver"] == driver).to_numpy()
    scores = result.predictors[name].scores
    values, draws = scores.auroc[here], scores.draws[:, here]
    if against is not None:
        other = result.predictors[against].scores
        values, draws = values - other.auroc[here], draws - other.draws[:, here]
    return mean_interval(draws, values)


def test_a_hundred_scaffolds_know_nothing_of_activity(found):
    screen, result = found
    assert screen.compounds["scaffold"].n_unique() > 80
    assert (screen.truth.group_by("driver").len().sort("driver").rows()) == sorted(DRIVERS.items())
    groups = screen.compounds["scaffold"].to_numpy()
    for scaffold in np.unique(groups):
        assert len(set(result.fold[groups == scaffold])) == 1


@pytest.mark.parametrize("driver", MODALITIES)
@pytest.mark.parametrize("name", MODALITIES)
def test_each_driver_is_found_by_its_modality_and_not_by_others(found, driver, name):
    value, low, high = mean_of(found, name, driver)
    if name == driver:
        assert low > 0.75
    else:
        assert low < 0.5 < high or value < 0.5


def test_fusion_beats_each_alone_exactly_where_drivers_are_complementary(found):
    for driver in DRIVERS:
        better = [mean_of(found, TOGETHER, driver, against=name)[1] > 0 for name in MODALITIES]
        assert all(better) == ("+" in driver), driver


def test_assays_of_nuisances_are_flagged_and_others_are_not(found):
    screen, result = found
    reached = result.reached_by(result.predictors[TOGETHER])
    by_driver = {driver: [] for driver in DRIVERS}
    for driver, names in zip(screen.truth["driver"], reached, strict=True):
        by_driver[driver].append(names)
    for driver, name in (("count", COUNT), ("batch", BATCH), ("position", POSITION)):
        assert all(name in names for names in by_driver[driver]), driver
    clean = [names for driver in MODALITIES for names in by_driver[driver]]
    assert not any(clean)


def test_shuffled_labels_are_at_a_half(found):
    _, result = found
    for name in (*MODALITIES, TOGETHER):
        scores = result.predictors[f"{SHUFFLED}: {name}"].scores
        _, low, high = mean_interval(scores.draws, scores.auroc)
        assert low < 0.5 < high
    assert result.predictors["majority"].scores.auroc.tolist() == [0.5] * 40
