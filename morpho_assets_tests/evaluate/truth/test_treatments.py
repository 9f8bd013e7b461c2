"""Each check holds on a good screen, and fails on one that was broken on purpose."""

from functools import partial

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.truth.treatments import TREATMENT, counting, lengths, null_wells, parameters, ranks
from morpho_assets_tests.evaluate.truth.conftest import read_screen


def by_name(findings):
    return {finding.check: finding for finding in findings}


def test_a_good_screen_keeps_every_bound(screen):
    args = (screen.profiles, screen.features, screen.planted)
    found = by_name(
        [*ranks(*args, 0), *lengths(*args), *null_wells(*args, 0), *parameters(screen.profiles, screen.planted)]
    )
    assert len(found) == 9
    assert {name for name, finding in found.items() if not finding.holds} == set()


def test_shuffled_treatments_lose_effect_and_order(screen):
    """Mechanisms cannot be told from labels that say nothing."""
    wrong = shuffled(screen.profiles, seed=1)
    found = by_name(
        [*ranks(wrong, screen.features, screen.planted, 0), *lengths(wrong, screen.features, screen.planted)]
    )
    assert not any(found[name].holds for name in ("active_auc", "map_rises", "effect_length"))


def test_without_effects_nothing_is_recovered(truth):
    nothing = read_screen(truth, effect=0.0)
    args = (nothing.profiles, nothing.features, nothing.planted)
    found = by_name([*ranks(*args, 0), *lengths(*args), *parameters(nothing.profiles, nothing.planted)])
    assert {name for name, finding in found.items() if finding.holds} == set()


def test_a_wrong_channel_loses_the_parameter_that_it_shows_and_no_other(screen):
    swap = {"Nuclei_Intensity_MeanIntensity_ER": "Nuclei_Intensity_MeanIntensity_Mito"}
    swap |= {new: old for old, new in swap.items()}
    found = by_name(parameters(screen.profiles.rename(swap), screen.planted))
    assert {name for name, finding in found.items() if not finding.holds} == {"er_intensity"}


@pytest.fixture
def apart(screen):
    """Inert wells of which those of a plate are unlike each other, and those of other plates nearer: what a sphering
    gives that is fitted on as many wells as features."""
    acting = screen.planted.filter("active")[TREATMENT].to_list()
    inert = screen.profiles.filter(~pl.col(TREATMENT).is_in(acting))
    own = np.eye(inert.height)
    plates = inert["Metadata_Plate"].to_numpy()
    for plate in np.unique(plates):
        own[plates == plate] -= own[plates == plate].mean(axis=0)
    features = [f"Cells_{i}" for i in range(inert.height)]
    return pl.concat([inert.drop(screen.features), pl.DataFrame(own + 1, schema=features)], how="horizontal"), features


def test_wells_of_a_plate_that_are_unlike_each_other_are_no_activity(screen, apart):
    assert by_name(null_wells(screen.profiles, screen.features, screen.planted, 0))["null_retrieved"].holds
    assert by_name(null_wells(*apart, screen.planted, 0))["null_retrieved"].holds


def test_a_ranking_that_takes_them_for_activity_is_caught(screen, apart, monkeypatch):
    """As the published pairing does, whose rivals lie on the query's own plate."""
    published = partial(RetrievalConfig, pairing="published")
    monkeypatch.setattr("morpho_assets.evaluate.truth.treatments.RetrievalConfig", published)
    assert not by_name(null_wells(*apart, screen.planted, 0))["null_retrieved"].holds


def test_counting_finds_the_toxic_mechanism_alone(screen):
    found = by_name(counting(screen.counts, ["Count_Cells", "Count_Unit"], screen.planted, 0))
    assert found["count_finds_toxic"].holds
    assert found["count_finds_else"].holds


def test_a_count_that_says_nothing_finds_no_toxic_compound(screen):
    wrong = shuffled(screen.counts, seed=1)
    found = by_name(counting(wrong, ["Count_Cells", "Count_Unit"], screen.planted, 0))
    assert not found["count_finds_toxic"].holds


def test_a_space_that_sees_more_than_the_count_is_not_a_count_space(screen):
    """Morphology leaked into the baseline: it finds what does not change the count."""
    found = by_name(counting(screen.profiles, screen.features, screen.planted, 0))
    assert not found["count_finds_else"].holds


def test_one_plate_has_no_replicates_for_the_null(screen):
    one = screen.profiles.filter(pl.col("Metadata_Plate") == screen.profiles["Metadata_Plate"][0])
    assert list(null_wells(one, screen.features, screen.planted, 0)) == []


@pytest.mark.parametrize("wells", [0, 1])
def test_treatments_without_replicates_have_no_length(screen, wells):
    some = screen.profiles.filter(pl.col("Metadata_control_type").is_null()).head(wells)
    found = by_name(lengths(some, screen.features, screen.planted))["effect_length"]
    assert found.n == 0
    assert not found.holds
