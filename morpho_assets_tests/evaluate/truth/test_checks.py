"""That a check which passes on what says nothing does not hold."""

import numpy as np
import pytest

from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.truth.batches import correction, mechanisms
from morpho_assets.evaluate.truth.checks import CHECKS, Finding, beside
from morpho_assets.evaluate.truth.evaluator import TruthConfig, of_the_site_before, on_profiles
from morpho_assets.profiles.correct import correct_steps
from morpho_assets.profiles.recipe import Step
from morpho_assets.profiles.refit import Refit
from morpho_assets.profiles.sphering import SpheringConfig
from morpho_assets_tests.evaluate.truth.test_treatments import by_name


def test_every_check_says_what_it_must_fail_on():
    assert [name for name, check in CHECKS.items() if bool(check.counterpart) is check.beyond_chance] == []


@pytest.mark.parametrize(
    ("value", "counterpart", "holds"), [(0.9, None, True), (0.9, 0.2, True), (0.9, 0.7, False), (0.2, 0.1, False)]
)
def test_a_counterpart_that_passes_takes_the_check_with_it(value, counterpart, holds):
    assert Finding("nsc", value, 20, counterpart=counterpart).holds is holds


def test_a_gain_counts_beyond_that_of_shuffled_treatments():
    assert Finding("map_kept", 0.2, 20, 0.14).holds
    assert not Finding("map_kept", 0.1, 20, 0.14).holds


def test_beside_is_the_mean_of_draws_that_could_be_asked():
    draws = [[Finding("nsc", 0.1, 2)], [Finding("nsc", 0.3, 2)], []]
    first, second = beside([Finding("nsc", 0.9, 2), Finding("drift", 0.9, 2)], draws)
    assert first.counterpart == pytest.approx(0.2)
    assert second.counterpart is None


def test_sites_have_the_masks_of_the_one_before():
    sites = [("a", {"nuclei": 1}, {"nuclei": 2}), ("b", {"nuclei": 3}, {"nuclei": 4})]
    assert list(of_the_site_before(sites)) == [("b", {"nuclei": 3}, {"nuclei": 2})]


def test_a_good_screen_holds_with_all_its_counterparts(screen):
    found = by_name(on_profiles(screen.profiles, screen.measured, screen.planted, TruthConfig(), 0))
    asked = {"active_auc", "map_rises", "null_retrieved", "effect_length", "nsc", "nscb_drop", "batch_removed"}
    assert {name for name, finding in found.items() if finding.counterpart is not None} == asked
    assert {name for name, finding in found.items() if not finding.holds} == set()
    rows = [row for finding in found.values() for row in finding.rows()]
    assert sum(row["scope"] == "counterpart" for row in rows) == len(asked)


def test_what_spheres_all_controls_and_ranks_against_them_gains_on_nothing(screen):
    """The gain of shuffled treatments, which a check on the gain alone takes for biology."""
    profiles = shuffled(screen.profiles, seed=1)
    published = SpheringConfig(epsilon=1e-6, unseen="accept")
    ((_, state),) = correct_steps(profiles, [published], screen.features)
    args = (shuffled(screen.measured, seed=1), state.profiles, screen.features, state.features, 0)
    refit = Refit(profiles, tuple(screen.features), (Step(correct=published),), np.arange(profiles.height))
    unaware, fair = (by_name(correction(*args, how))["map_kept"] for how in (None, refit))
    assert unaware.value > 0.05
    assert unaware.chance > fair.chance + 0.03
    for found in (unaware, fair):
        assert abs(found.value - found.chance) < 0.06


def test_mechanisms_that_are_lost_to_no_batch_have_something_to_lose(screen):
    drop = by_name(mechanisms(screen.profiles, screen.features, screen.planted, 0))["nscb_drop"]
    assert drop.counterpart > 0.2
    none = by_name(mechanisms(shuffled(screen.profiles, seed=1), screen.features, screen.planted, 0))["nscb_drop"]
    assert not none.holds
