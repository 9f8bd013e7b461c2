from __future__ import annotations

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.retrieval import RetrievalConfig, mean_average_precision
from morpho_assets.evaluate.sweep import sweep
from morpho_assets.profiles.correct import CORRECTORS, CorrectorConfig, correct, correct_steps, corrector_config
from morpho_assets.profiles.features import feature_columns
from morpho_assets.profiles.tuning import TUNING, mark_tuning
from morpho_assets_tests.evaluate.conftest import screen


def sphering(**settings: object) -> CorrectorConfig:
    return corrector_config({"corrector": "sphering", "sweep": {"values": (1e-3, 1.0, 1e3), **settings}})


def test_the_choice_rests_on_treatments_that_are_not_reported() -> None:
    frame = mark_tuning(screen(0.5, treatments=20), 0.5)
    columns = feature_columns(frame)
    found = sweep(frame, columns, sphering())
    assert found.curve["epsilon"].to_list() == [1e-3, 1.0, 1e3]
    assert found.curve["n_tuning"].unique().to_list() == found.curve["n_reported"].unique().to_list() == [10]
    best = found.curve.sort("tuning", descending=True, maintain_order=True)["epsilon"][0]
    assert found.best == corrector_config({"corrector": "sphering", "epsilon": best, "unseen": "accept"})
    # The score that chooses does not change with wells of treatments that are reported.
    other = pl.when(pl.col(TUNING)).then(pl.col(columns)).otherwise(-3 * pl.col(columns) + 1)
    kept = pl.when(pl.col(TUNING).is_null()).then(pl.col(columns)).otherwise(other)
    again = sweep(frame.with_columns(kept), columns, sphering())
    assert again.curve["tuning"].equals(found.curve["tuning"])
    assert not again.curve["reported"].equals(found.curve["reported"])


def test_marks_are_those_of_treatments_and_controls_are_no_queries() -> None:
    frame = mark_tuning(screen(treatments=20), 0.3)
    kinds = dict(frame.group_by("Metadata_Perturbation").agg(pl.col(TUNING).unique()).iter_rows())
    assert kinds.pop("DMSO") == [None]
    assert sorted(kinds.values()) == [[False]] * 14 + [[True]] * 6
    queries = RetrievalConfig(queries=f"NOT {TUNING}")
    told = mean_average_precision(frame, feature_columns(frame), queries)["Metadata_Perturbation"].to_list()
    assert sorted(told) == sorted(name for name, tuned in kinds.items() if tuned == [False])


def test_treatments_that_do_nothing_gain_nothing_by_the_chosen_strength() -> None:
    """40 features and 32 controls: whitening by all of these makes them unlike everything, and nothing else alike."""
    frame = screen(0, treatments=120, features=40, plates=4, controls=8)
    columns = feature_columns(frame)
    found = sweep(frame, columns, sphering())
    chosen = found.curve.filter(pl.col("epsilon") == found.best.epsilon)  # type: ignore[union-attr]
    weakest = found.curve.filter(pl.col("epsilon") == 1e3)
    assert abs(chosen["reported"].item() - weakest["reported"].item()) < 0.02
    assert found.curve.select(pl.max_horizontal(pl.col("^.*_shuffled$").abs())).to_series().max() < 0.03  # type: ignore[operator]
    against_controls = sweep(frame, columns, sphering(negatives="negcon")).curve  # fold by fold
    strongest, weakest = (against_controls.filter(pl.col("epsilon") == value) for value in (1e-3, 1e3))
    assert strongest["reported"].item() - weakest["reported"].item() < 0.05
    assert strongest["reported_shuffled"].item() - weakest["reported_shuffled"].item() < 0.05


def test_shuffled_treatments_of_real_plates_gain_nothing(jump_plates: pl.DataFrame) -> None:
    columns = feature_columns(jump_plates)
    frame = shuffled(jump_plates, seed=7)
    found = sweep(frame, columns, sphering(values=(1e-2, 10.0, 1e3)))
    scores = found.curve.select("tuning", "reported", "tuning_shuffled", "reported_shuffled").to_numpy()
    assert abs(scores).max() < 0.03  # 0.26 where controls that sphering was fitted on are the negatives


def test_a_corrector_without_a_sweep_gets_the_default_one_if_it_has_that_setting() -> None:
    frame = screen(treatments=4, plates=2)
    columns = feature_columns(frame)
    assert sweep(frame, columns, corrector_config({"corrector": "sphering"})).curve.height == 25
    with pytest.raises(InputError, match="no setting 'epsilon'; known: limit"):
        sweep(frame, columns, corrector_config({"corrector": "clip"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"setting": "strength"}, "no setting 'strength'; known: method, epsilon"), ({"values": (-1.0,)}, "epsilon -1")],
)
def test_a_sweep_of_what_cannot_be_set(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sphering(**settings)


def test_a_chain_sweeps_where_it_is_given_the_means() -> None:
    frame = screen(treatments=8)
    best = sweep(frame, feature_columns(frame), sphering()).best
    assert correct(frame, [sphering()], tune=sweep).equals(correct(frame, [best]))
    ((_, state),) = correct_steps(frame, [sphering()], tune=sweep)
    assert ("the best may lie further" in state.notes[0]) == (best.epsilon != 1.0)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="tune=sweep"):
        correct(frame, [sphering()])


def test_profiles_without_treatments_are_told() -> None:
    frame = screen().drop("Metadata_Perturbation")
    with pytest.raises(InputError, match="sweep: found no column Metadata_Perturbation"):
        sweep(frame, feature_columns(frame), sphering())


def test_too_few_treatments_to_hold_any_out() -> None:
    frame = screen(treatments=3)
    with pytest.raises(InputError, match="3 compounds"):
        sweep(frame, feature_columns(frame), sphering())


def test_a_swept_whole_number_stays_one() -> None:
    frame = screen(treatments=8, batch=1)
    config = corrector_config({"corrector": "harmony", "sweep": {"setting": "clusters", "values": (2, 3)}})
    best = sweep(frame, feature_columns(frame), config).best
    assert best.clusters in (2, 3)  # type: ignore[union-attr]
    assert CORRECTORS["harmony"](frame, feature_columns(frame), best, 0).profiles.height == frame.height


def test_doses_of_a_compound_are_on_one_side() -> None:
    frame = screen(treatments=24)
    name = pl.col("Metadata_Perturbation")
    number = name.rank("dense") - 1
    doses = pl.when(pl.col("Metadata_control_type").is_null()).then(pl.format("X{}@{}", number // 3, number % 3))
    marked = mark_tuning(frame.with_columns(doses.otherwise(name).alias("Metadata_Perturbation")), 0.5)
    treated = marked.filter(pl.col(TUNING).is_not_null())
    sides = treated.group_by(name.str.split("@").list.first()).agg(
        pl.col(TUNING).n_unique(), name.n_unique().alias("n")
    )
    assert sides[TUNING].to_list() == [1] * sides.height
    assert sides["n"].max() == 3
    assert 0 < treated[TUNING].sum() < treated.height
