from __future__ import annotations

from itertools import combinations, product

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from sklearn.metrics import average_precision_score

from morpho_assets.evaluate import exchange
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import mean_average_precision
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.normalize import normalize
from morpho_assets_tests.evaluate.conftest import screen

RIVALS = RetrievalConfig(negatives=PairRule(where="treated"))


def unit(frame: pl.DataFrame) -> npt.NDArray[np.float64]:
    values = to_matrix(frame, feature_columns(frame))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def naive_map(
    similar: npt.NDArray[np.float64], plates: npt.NDArray[np.str_], wells: list[int], rivals: list[int]
) -> float:
    """mAP of `wells` among `rivals` on the plates of the others, ranking by ranking."""
    scores = []
    for query in wells:
        positives = [well for well in wells if well != query]
        held = {plates[well] for well in positives}
        candidates = positives + [well for well in rivals if plates[well] in held]
        scores.append(average_precision_score([c in positives for c in candidates], similar[query, candidates]))
    return float(np.mean(scores))


def naive_p(frame: pl.DataFrame, treatment: str, rivals: list[int]) -> float:
    """Every exchange of the treatment's wells with rivals of their plates, one after the other."""
    similar, plates = unit(frame) @ unit(frame).T, frame["Metadata_Plate"].to_numpy()
    own = np.flatnonzero((frame["Metadata_Perturbation"] == treatment).to_numpy()).tolist()
    pool = sorted({*own, *rivals})
    chosen = []
    for plate in sorted(set(plates)):
        here = [well for well in pool if plates[well] == plate]
        chosen.append(list(combinations(here, sum(plates[well] == plate for well in own))))
    sets = [[well for part in parts for well in part] for parts in product(*chosen)]
    null = [naive_map(similar, plates, wells, [w for w in pool if w not in wells]) for wells in sets]
    observed = naive_map(similar, plates, own, [w for w in pool if w not in own])
    return float(np.mean(np.array(null) >= observed - 1e-9))


def small(plates: int, controls: int, whole_numbers: bool = False) -> pl.DataFrame:
    """t00 twice on the first plate and once on the others, t01 and t02 once on each."""
    frame = screen(0.5, treatments=4, plates=plates, controls=controls, features=4)
    frame = frame.with_columns(
        Metadata_Perturbation=pl.when((pl.col("Metadata_Perturbation") == "t03") & (pl.col("Metadata_Plate") == "P0"))
        .then(pl.lit("t00")).otherwise("Metadata_Perturbation")
    ).filter(pl.col("Metadata_Perturbation") != "t03")  # fmt: skip
    return frame.with_columns(pl.col("^Cells_.*$").round(0) + 0.5) if whole_numbers else frame


@pytest.mark.parametrize(("plates", "controls"), [(2, 4), (3, 2)])
def test_p_is_that_of_every_exchange_with_controls_by_hand(plates: int, controls: int) -> None:
    frame = small(plates, controls)
    rivals = np.flatnonzero((frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()).tolist()
    found = mean_average_precision(frame, feature_columns(frame))
    assert found.height == 3
    for row in found.iter_rows(named=True):
        assert row["p_value"] == pytest.approx(naive_p(frame, row["Metadata_Perturbation"], rivals))


def test_p_among_other_treatments_is_that_of_every_exchange_of_treated_wells() -> None:
    frame = small(3, 4)
    rivals = np.flatnonzero(frame["Metadata_control_type"].is_null().to_numpy()).tolist()
    found = mean_average_precision(frame, feature_columns(frame), RIVALS)
    for row in found.iter_rows(named=True):
        assert row["p_value"] == pytest.approx(naive_p(frame, row["Metadata_Perturbation"], rivals))


def test_exchanges_that_tie_count_by_the_mean_over_their_orders() -> None:
    """Profiles that are all alike score chance in every exchange, so that p is 1."""
    frame = small(2, 4).with_columns(pl.col("^Cells_.*$") * 0 + 1)
    found = mean_average_precision(frame, feature_columns(frame))
    assert found["p_value"].to_list() == [1.0] * 3
    counts = small(2, 4, whole_numbers=True)
    score = mean_average_precision(counts, feature_columns(counts))
    assert score["p_value"].min() >= score["p_least"].min()  # type: ignore[operator]


def test_drawn_exchanges_agree_with_all_of_them() -> None:
    frame = screen(0.5, treatments=10, plates=3, controls=6, features=10)
    exact = mean_average_precision(frame, feature_columns(frame))
    drawn = mean_average_precision(frame, feature_columns(frame), RetrievalConfig(exact_limit=0, null_size=20_000))
    p, q = exact["p_value"].to_numpy(), drawn["p_value"].to_numpy()
    assert (np.abs(p - q) < 4 * np.sqrt(p / 20_000) + 1e-4).all()
    assert exact["p_least"].to_list() == [1 / 7**3] * 10
    assert (
        mean_average_precision(frame, feature_columns(frame), RetrievalConfig(exact_limit=0, null_size=200))[
            "p_least"
        ].to_list()
        == [1 / 201] * 10
    )


@pytest.mark.parametrize("config", [RetrievalConfig(exact_limit=0, null_size=500), RIVALS])
def test_neither_the_order_of_rows_nor_other_treatments_change_a_p_value(config: RetrievalConfig) -> None:
    frame = normalize(screen(0.5, treatments=8, plates=2, controls=8)).with_columns(
        Metadata_Well=pl.format("{}-{}", "Metadata_Row", "Metadata_Col")
    )
    features = feature_columns(frame)
    whole = mean_average_precision(frame, features, config)
    turned = mean_average_precision(frame.sample(fraction=1, shuffle=True, seed=3), features, config)
    assert turned["p_value"].to_list() == pytest.approx(whole["p_value"].to_list(), abs=1e-12)
    if config is not RIVALS:  # there the others are what is exchanged with
        fewer = frame.filter(pl.col("Metadata_Perturbation").is_in(["t00", "t01", "DMSO"]))
        assert mean_average_precision(fewer, features, config)["p_value"].to_list() == whole["p_value"].to_list()[:2]


@pytest.mark.parametrize(("wells", "rivals"), [(3, 4096), (32, 20)], ids=["wells", "rivals"])
def test_a_part_of_a_large_group_is_tested(wells: int, rivals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MOST_MEMBERS", wells)
    monkeypatch.setattr(exchange, "MOST_RIVALS", rivals)
    frame = screen(3, treatments=3, plates=6, controls=6)
    found = mean_average_precision(frame, feature_columns(frame))
    assert found["p_least"].to_list() == [1 / 7**3] * 3  # three plates of six
    assert found["p_value"].max() == 1 / 7**3
    assert mean_average_precision(shuffled(frame), feature_columns(frame))["p_value"].min() >= 1 / 7**3  # type: ignore[operator]


@pytest.mark.parametrize(
    ("design", "config"),
    [
        ({"plates": 4, "controls": 6, "features": 100}, RetrievalConfig(null_size=500, exact_limit=0)),
        ({"plates": 3, "controls": 32, "features": 20}, RetrievalConfig(null_size=500, exact_limit=0)),
        ({"plates": 4, "controls": 8, "features": 50}, RIVALS),
    ],
    ids=["few controls", "many controls", "other treatments"],
)
def test_five_in_a_hundred_p_values_of_noise_are_under_five_in_a_hundred(
    design: dict[str, int], config: RetrievalConfig
) -> None:
    p = []
    for seed in range(20):
        frame = normalize(screen(0, seed, treatments=30, **design))
        p += mean_average_precision(frame, feature_columns(frame), config, seed)["p_value"].to_list()
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.07
    assert 0.42 < np.mean(p) < 0.58
