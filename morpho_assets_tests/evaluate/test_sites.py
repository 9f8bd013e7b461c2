"""Spaces of sites: what images of one well have in common is no replication."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from morpho_assets.evaluate.asked import Asked
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.evaluators import EVALUATORS, evaluate
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.sites import APART, AS_WELLS, SPLIT, evaluate_sites
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.normalize import normalize
from morpho_assets_tests.evaluate.conftest import screen, value

FEATURES = [f"Cells_{i}" for i in range(20)]
OTHERS = {"negatives": PairRule(where="treated")}


def sites(effect: float, own: float = 3.0, each: int = 3, treatments: int = 12, plates: int = 4) -> pl.DataFrame:
    """`each` images of every well of a screen; a well has a direction of its own, of size `own`, in all its images."""
    wells = screen(effect, treatments=treatments, plates=plates)
    rng = np.random.default_rng(1)
    columns = feature_columns(wells)
    shared = own * rng.normal(size=(wells.height, len(columns)))
    names = [f"{chr(64 + row)}{column:02d}" for row, column in wells.select("Metadata_Row", "Metadata_Col").iter_rows()]
    frames = []
    for site in range(1, each + 1):
        values = wells.select(columns).to_numpy() + shared + rng.normal(size=shared.shape)
        frame = wells.with_columns(pl.Series(name, values[:, i]) for i, name in enumerate(columns))
        frames.append(frame.with_columns(Metadata_Site=pl.lit(site), Metadata_Well=pl.Series(names)))
    return pl.concat(frames).sort("Metadata_Plate", "Metadata_Well", "Metadata_Site")


def test_a_well_that_is_like_itself_is_no_replicate() -> None:
    """Nothing but wells: images of one well would find each other; those of other wells do not."""
    frame = sites(0)
    naive = evaluate(frame, FEATURES, RetrievalConfig(null_size=100, **OTHERS)).metrics
    found, note = evaluate_sites(frame, FEATURES, RetrievalConfig(**OTHERS))
    assert note == APART
    assert value(naive, "normalised_AP") > 0.15
    assert value(found.metrics, "normalised_AP") == pytest.approx(0, abs=0.05)
    assert found.metrics["metric"].to_list() == ["mAP", "normalised_AP"]
    assert found.metrics["p_value"].null_count() == 2
    assert "treatments" not in found.details


def test_an_effect_is_found_from_other_wells() -> None:
    found, _ = evaluate_sites(sites(3, own=1), FEATURES, RetrievalConfig())
    assert value(found.metrics, "normalised_AP") > 0.5
    assert value(found.metrics, "mAP", "n") == 12
    assert found.scores["score"].unique().sort().to_list() == ["mAP", "normalised_AP"]


def test_a_treatment_of_one_well_has_nothing_to_find() -> None:
    found, _ = evaluate_sites(sites(3, plates=1), FEATURES, RetrievalConfig())
    assert found.metrics.select("metric", "value", "n").rows() == [("mAP", None, 0), ("normalised_AP", None, 0)]


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_evaluator_takes_sites_and_says_so(name: str) -> None:
    own = {"consistency": {"label": "Metadata_moa"}, "potency": {"compound": "Metadata_moa"}}
    settings = {"evaluator": name, **own.get(name, {})}
    frame = sites(3, own=1, treatments=24).with_columns(
        Metadata_Batch=pl.col("Metadata_Plate"),
        Metadata_dose_uM=pl.col("Metadata_Perturbation").str.extract(r"t(\d+)").cast(pl.Float64) // 4 + 1,
    )
    config = EVALUATORS[name][0].model_validate(settings)
    found, note = evaluate_sites(frame, FEATURES, config)
    apart = dict.fromkeys(("retrieval", "near_far", "replicability", "grit"), APART)
    assert note == {**apart, "prediction": SPLIT}.get(name, AS_WELLS)
    assert found.metrics.filter(scope="overall")["n"].max() > 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "metric", "most"), [("replicability", "percent_replicating", 0.2), ("grit", "grit_median", 0.3)]
)
def test_partners_are_of_other_wells(name: str, metric: str, most: float) -> None:
    config = EVALUATORS[name][0].model_validate({"evaluator": name})
    frame = sites(0, treatments=24)
    assert value(evaluate(frame, FEATURES, config).metrics, metric) > 2 * most
    assert value(evaluate_sites(frame, FEATURES, config)[0].metrics, metric) < most


def test_the_images_of_a_control_well_rank_in_one_fold() -> None:
    """On one plate that its controls scaled: the fold that is left out is of whole wells."""
    one = sites(0, plates=1, treatments=24)
    frame = normalize(one, features=FEATURES)
    asked = Asked.of(frame, FEATURES, RetrievalConfig(), 0, None)
    assert asked.folds is not None
    folds = (
        frame.with_columns(fold=pl.Series(asked.folds.number)).group_by("Metadata_Well").agg(pl.col("fold").unique())
    )
    assert folds["fold"].list.len().unique().to_list() == [1]
    assert sorted(folds["fold"].list.first().unique()) == list(range(asked.folds.count))


def test_shuffled_wells_keep_their_images() -> None:
    frame = sites(1)
    moved = shuffled(frame, seed=3)
    by_well = moved.group_by("Metadata_Plate", "Metadata_Well").agg(pl.col("Metadata_Perturbation").n_unique())
    assert by_well["Metadata_Perturbation"].unique().to_list() == [1]
    assert (moved["Metadata_Perturbation"] != frame["Metadata_Perturbation"]).any()
    controls = frame.filter(Metadata_control_type="negcon").select("Metadata_Plate", "Metadata_Well", "Metadata_Site")
    same = moved.filter(Metadata_control_type="negcon").select("Metadata_Plate", "Metadata_Well", "Metadata_Site")
    assert same.equals(controls)
    whole = shuffled(frame.filter(Metadata_Site=1).drop("Metadata_Site"), seed=3)["Metadata_Perturbation"]
    assert moved.filter(Metadata_Site=1)["Metadata_Perturbation"].equals(whole)
