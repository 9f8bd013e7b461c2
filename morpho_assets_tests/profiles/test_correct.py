"""Every corrector: what it removes, what it leaves, and where it refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from scipy import linalg
from scipy.special import ndtri
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from benchmarks.calibration import Design, loadings, plates
from morpho_assets.errors import InputError
from morpho_assets.evaluate.average_precision import RetrievalConfig
from morpho_assets.evaluate.intervals import mean_interval
from morpho_assets.evaluate.nsc import NscConfig, nsc
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.evaluate.retrieval import treatment_scores
from morpho_assets.profiles.correct import CORRECTORS, correct, correct_steps, corrector_config
from morpho_assets.profiles.features import feature_columns, to_matrix, with_matrix
from morpho_assets.profiles.harmony import HarmonyConfig, harmonise
from morpho_assets.profiles.normalize import normalize
from morpho_assets_tests.profiles.conftest import plate


def screen(batch_shift: float = 3.0, effect: float = 2.0, seed: int = 0, features: int = 10) -> pl.DataFrame:
    """Three plates with a shifted batch each; 12 treatments in wells that change from plate to plate, 20 controls."""
    rng = np.random.default_rng(seed)
    profile = rng.normal(0, effect, (12, features))
    frames = []
    for number in range(3):
        labels = np.concatenate([np.repeat(np.arange(12), 3), np.full(20, -1)])
        rng.shuffle(labels)
        values = rng.normal(size=(56, features)) + batch_shift * rng.normal(size=features)
        values += np.where(labels[:, None] >= 0, profile[labels], 0)
        frames.append(
            pl.DataFrame(values, schema=[f"Cells_{i}" for i in range(features)]).with_columns(
                pl.lit(f"P{number}").alias("Metadata_Plate"),
                pl.Series("Metadata_Well", [f"{'ABCDEFG'[i // 8]}{i % 8 + 1:02d}" for i in range(56)]),
                pl.Series("Metadata_Perturbation", [f"t{i}" if i >= 0 else "DMSO" for i in labels]),
                pl.Series("Metadata_control_type", [None if i >= 0 else "negcon" for i in labels], dtype=pl.String),
                pl.Series("Metadata_Count_Cells", rng.integers(50, 500, 56)),
            )
        )
    return pl.concat(frames)


def plate_share(frame: pl.DataFrame, columns: list[str], group: str = "Metadata_Plate") -> float:
    """Share of the variance between the means of `group`."""
    values = to_matrix(frame, columns)
    values -= values.mean(axis=0)
    means = pl.DataFrame(values).with_columns(frame[group]).group_by(group).agg(pl.all().mean(), pl.len().alias("n"))
    weights = means["n"].to_numpy()[:, None]
    return float((weights * means.drop(group, "n").to_numpy() ** 2).sum() / (values**2).sum())


SETTINGS = {
    "chromosome_arm": None,
    "coral": {"regularisation": 0.1},
    "harmony": {"clusters": 5},
    "well_position": {"most_fixed": 1, "shrink": False},
}


@pytest.mark.parametrize("name", [n for n in CORRECTORS if SETTINGS.get(n, {}) is not None])
def test_every_corrector_keeps_rows_and_metadata_and_is_deterministic(name: str) -> None:
    frame = screen()
    columns = feature_columns(frame)
    config = corrector_config({"corrector": name, **(SETTINGS.get(name) or {})})
    found = CORRECTORS[name](frame, columns, config, 0)
    assert found.profiles.select(pl.col("^Metadata_.*$")).equals(frame.select(pl.col("^Metadata_.*$")))
    assert np.isfinite(to_matrix(found.profiles, found.features)).all()
    assert CORRECTORS[name](frame, columns, config, 0).profiles.equals(found.profiles)


@pytest.mark.parametrize("name", ["coral", "tvn", "combat", "harmony", "mnn"])
def test_batch_correctors_remove_plates_and_keep_treatments(name: str) -> None:
    frame = screen(batch_shift=1)
    columns = feature_columns(frame)
    config = corrector_config({"corrector": name, **(SETTINGS.get(name) or {})})
    found = CORRECTORS[name](frame, columns, config, 0)
    treated = found.profiles.filter(pl.col("Metadata_control_type").is_null())
    before = plate_share(frame, columns)
    assert before > 0.15
    assert plate_share(found.profiles, list(found.features)) < before / 5
    assert plate_share(treated, list(found.features), "Metadata_Perturbation") > 0.5


@pytest.mark.parametrize("name", ["combat", "harmony", "mnn"])
def test_one_batch_comes_back_as_it_is(name: str) -> None:
    frame = screen().filter(Metadata_Plate="P0")
    assert correct(frame, [corrector_config({"corrector": name})]).equals(frame)


@pytest.mark.parametrize("name", [n for n in CORRECTORS if SETTINGS.get(n, {}) is not None])
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    frame = screen()
    columns = feature_columns(frame)
    order = np.random.default_rng(1).permutation(frame.height)
    config = corrector_config({"corrector": name, **(SETTINGS.get(name) or {})})
    plain, turned = (CORRECTORS[name](rows, columns, config, 0) for rows in (frame, frame[order]))
    values, others = to_matrix(plain.profiles, plain.features)[order], to_matrix(turned.profiles, turned.features)
    sign = np.sign(np.sum(values * others, axis=0))  # of a component; the columns of a feature are as they are
    assert name == "tvn" or (sign == 1).all()
    np.testing.assert_allclose(others * sign, values, rtol=1e-7, atol=1e-7)


def test_missing_values_are_refused_by_name() -> None:
    frame = screen().with_columns(Cells_0=pl.lit(None, pl.Float64))
    for name in ("sphering", "pca", "coral", "tvn", "combat", "harmony", "mnn"):
        with pytest.raises(InputError, match="Cells_0"):
            correct(frame, [corrector_config({"corrector": name})])


def test_well_position_subtracts_the_mean_of_each_well() -> None:
    frame = screen()
    found = correct(frame, [corrector_config({"corrector": "well_position", "shrink": False})])
    means = found.group_by("Metadata_Well").agg(pl.col("^Cells_.*$").mean()).drop("Metadata_Well")
    np.testing.assert_allclose(means.to_numpy(), 0, atol=1e-12)


@pytest.mark.parametrize("size", [0.0, 1.0, 5.0])
def test_a_position_s_mean_is_shrunk_to_what_it_is_worth(size: float) -> None:
    """The prediction is the conditional mean of the effect: on balanced plates a known share of the mean's distance."""
    rng = np.random.default_rng(0)
    effect = size * rng.normal(size=(200, 1))
    values = np.tile(effect, (6, 3)) + rng.normal(size=(1200, 3))
    wells = [f"W{i}" for i in range(200)] * 6
    frame = pl.DataFrame(values, schema=["Cells_0", "Cells_1", "Cells_2"]).with_columns(
        pl.Series("Metadata_Well", wells),
        Metadata_Perturbation=pl.Series([f"t{i}" for i in rng.permutation(1200)]),
        Metadata_control_type=pl.lit(None, pl.String),
    )
    found = correct(frame, [corrector_config({"corrector": "well_position"})])
    taken = (values - to_matrix(found, ["Cells_0", "Cells_1", "Cells_2"]))[:200]
    means = values.reshape(6, 200, 3).mean(axis=0)
    expected = size**2 / (size**2 + 1 / 6) * (means - means.mean(axis=0))
    assert np.abs(taken - expected).mean() < 0.15 * np.abs(means).mean()


def test_a_position_with_one_well_stays_as_it_is_and_a_plate_of_them_is_refused() -> None:
    frame = screen()
    alone = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("Z99")).otherwise("Metadata_Well").alias("Metadata_Well")
    )
    for shrink in (True, False):
        config = corrector_config({"corrector": "well_position", "shrink": shrink})
        ((_, found),) = correct_steps(alone, [config])
        assert found.notes == ("1 of 57 positions with one well, which stay as they are",)
        assert found.profiles["Cells_0"][0] == frame["Cells_0"][0]
    one = frame.filter(Metadata_Plate="P0")
    with pytest.raises(InputError, match="one well of every position"):
        correct(one, [corrector_config({"corrector": "well_position", "most_fixed": 1})])


def test_well_position_refuses_a_repeated_layout_and_a_single_plate() -> None:
    for frame in (plate(), plate(plates=1)):
        with pytest.raises(InputError, match="100% of positions"):
            correct(frame, [corrector_config({"corrector": "well_position"})])


def test_cell_count_leaves_the_residual() -> None:
    frame = screen().with_columns(Cells_0=pl.col("Metadata_Count_Cells") * 2.0 + 5, Cells_1=pl.lit(3.0))
    found = correct(frame, [corrector_config({"corrector": "cell_count"})])
    np.testing.assert_allclose(found["Cells_0"], 0, atol=1e-9)
    assert found["Cells_1"].to_list() == frame["Cells_1"].to_list()  # too few distinct values to fit
    count = frame["Metadata_Count_Cells"].to_numpy()
    assert abs(np.corrcoef(count, found["Cells_5"].to_numpy())[0, 1]) < 1e-9


def test_cell_count_passes_over_missing_values() -> None:
    frame = screen().with_columns(
        Cells_0=pl.when(pl.int_range(pl.len()) < 30).then(None).otherwise(pl.col("Metadata_Count_Cells") * 2.0 + 5),
        Cells_1=pl.lit(None, pl.Float64),
    )
    found = correct(frame, [corrector_config({"corrector": "cell_count"})])
    assert found["Cells_0"].null_count() == 30
    np.testing.assert_allclose(found["Cells_0"].drop_nulls(), 0, atol=1e-9)
    assert found["Cells_1"].null_count() == frame.height


def test_cell_count_needs_the_count_of_every_well() -> None:
    for count in (pl.lit(None, pl.Int32), pl.when(pl.int_range(pl.len()) > 2).then("Metadata_Count_Cells")):
        with pytest.raises(InputError, match=r"of 168 wells without Metadata_Count_Cells.*leave the step out"):
            correct(screen().with_columns(Metadata_Count_Cells=count), [corrector_config({"corrector": "cell_count"})])


def test_blom_scores_by_hand() -> None:
    frame = pl.DataFrame({"Cells_A": [10.0, -5.0, 10.0, None, 99.0]})
    found = correct(frame, [corrector_config({"corrector": "normal_scores"})])["Cells_A"].to_list()
    np.testing.assert_allclose([found[0], found[1], found[4]], ndtri((np.array([2.5, 1, 4]) - 0.375) / 4.25))
    assert found[0] == found[2]
    assert found[3] is None


def test_clip() -> None:
    frame = pl.DataFrame({"Cells_A": [-1e9, 0.5, 1e9, None]})
    assert correct(frame, [corrector_config({"corrector": "clip"})])["Cells_A"].to_list() == [-100, 0.5, 100, None]


def test_pca_keeps_the_variance_asked_for() -> None:
    frame = screen()
    ((_, found),) = correct_steps(frame, [corrector_config({"corrector": "pca", "variance": 0.9})])
    values = to_matrix(frame, feature_columns(frame))
    kept = to_matrix(found.profiles, found.features).var(axis=0).sum() / values.var(axis=0).sum()
    assert 0.9 <= kept < 1
    one = correct(frame, [corrector_config({"corrector": "pca", "components": 1})])
    assert [name for name in one.columns if name.startswith("PC_")] == ["PC_0001"]


def test_tvn_leaves_white_controls() -> None:
    frame = screen(features=4)
    ((_, found),) = correct_steps(frame, [corrector_config({"corrector": "tvn", "regularisation": 1e-9})])
    for name in ("P0", "P1", "P2"):
        controls = found.profiles.filter(Metadata_Plate=name, Metadata_control_type="negcon")
        np.testing.assert_allclose(np.cov(to_matrix(controls, found.features), rowvar=False), np.eye(4), atol=1e-5)


def test_coral_is_that_of_scipy_s_matrix_roots() -> None:
    """Sun 2016, equation 3 with r I added to both covariances: (x - mean_b) C_b^-1/2 C^1/2 + mean."""
    frame = screen(features=4)
    columns = feature_columns(frame)
    found = correct(frame, [corrector_config({"corrector": "coral", "regularisation": 0.3})])
    controls = frame.filter(Metadata_control_type="negcon")
    common = to_matrix(controls, columns)
    target = linalg.sqrtm(np.cov(common.T) + 0.3 * np.eye(4))
    for name in ("P0", "P1", "P2"):
        own = to_matrix(controls.filter(Metadata_Plate=name), columns)
        white = np.linalg.inv(linalg.sqrtm(np.cov(own.T) + 0.3 * np.eye(4)))
        expected = (to_matrix(frame.filter(Metadata_Plate=name), columns) - own.mean(axis=0)) @ white @ target
        aligned = to_matrix(found.filter(Metadata_Plate=name), columns)
        np.testing.assert_allclose(aligned, expected + common.mean(axis=0), rtol=1e-8)


def test_tvn_is_efaar_s_steps_by_scikit_learn() -> None:
    frame = screen(features=6)
    columns = feature_columns(frame)
    ((_, found),) = correct_steps(
        frame, [corrector_config({"corrector": "tvn", "components": 4, "regularisation": 0.5})]
    )
    control = (frame["Metadata_control_type"] == "negcon").fill_null(False).to_numpy()
    values = to_matrix(frame, columns)
    for step in (StandardScaler(), PCA(4), StandardScaler()):
        values = step.fit(values[control]).transform(values)
    for name in ("P0", "P1", "P2"):
        here = (frame["Metadata_Plate"] == name).to_numpy()
        own = values[here & control]
        white = np.linalg.inv(linalg.sqrtm(np.cov(own.T) + 0.5 * np.eye(4)))
        expected = (values[here] - own.mean(axis=0)) @ white
        got = to_matrix(found.profiles.filter(Metadata_Plate=name), found.features)
        np.testing.assert_allclose(got * np.sign(np.sum(got * expected, axis=0)), expected, rtol=1e-6, atol=1e-8)


def test_coral_gives_batches_the_common_control_mean() -> None:
    frame = screen(features=4)
    found = correct(frame, [corrector_config({"corrector": "coral"})]).filter(Metadata_control_type="negcon")
    means = found.group_by("Metadata_Plate").agg(pl.col("^Cells_.*$").mean()).drop("Metadata_Plate").to_numpy()
    np.testing.assert_allclose(means - means.mean(axis=0), 0, atol=1e-9)


def test_combat_keeps_the_named_effect_in_unbalanced_batches() -> None:
    rng = np.random.default_rng(0)
    kind = np.array(["a"] * 80 + ["b"] * 20 + ["a"] * 20 + ["b"] * 80)
    frame = pl.DataFrame(
        rng.normal(size=(200, 6)) + 4 * (kind == "b")[:, None], schema=[f"Cells_{i}" for i in range(6)]
    )
    frame = frame.with_columns(
        pl.Series("Metadata_Plate", ["P"] * 100 + ["Q"] * 100), pl.Series("Metadata_kind", kind)
    ).with_columns(pl.col("^Cells_.*$") + pl.when(Metadata_Plate="Q").then(5.0).otherwise(0.0))

    def effect(found: pl.DataFrame) -> float:
        means = found.group_by("Metadata_kind").agg(pl.col("Cells_0").mean()).sort("Metadata_kind")["Cells_0"]
        return float(means[1] - means[0])

    kept = effect(correct(frame, [corrector_config({"corrector": "combat", "keep": ["Metadata_kind"]})]))
    lost = effect(correct(frame, [corrector_config({"corrector": "combat"})]))
    assert kept == pytest.approx(4, abs=0.4)
    assert lost < kept - 1


def test_combat_of_one_feature_by_hand() -> None:
    """Nothing to shrink: batch means 2 and 7, grand mean 4.5; residuals +-1 and +-2, pooled SD sqrt(2.5). Standardised
    by the batch's own mean and variance (ddof 1: 2 and 8), the rows are -+1/sqrt(2) in units of the pooled SD."""
    frame = pl.DataFrame({"Metadata_Plate": ["P", "P", "Q", "Q"], "Cells_A": [1.0, 3.0, 5.0, 9.0]})
    found = correct(frame, [corrector_config({"corrector": "combat"})])["Cells_A"]
    far = np.sqrt(2.5) / np.sqrt(2)
    np.testing.assert_allclose(found, [4.5 - far, 4.5 + far, 4.5 - far, 4.5 + far])


def test_combat_is_the_paper_s_iteration_written_out() -> None:
    """Johnson 2007, section 3: priors by moments over features, posteriors iterated feature by feature."""
    frame = screen(features=4).filter(pl.col("Metadata_Plate") != "P2")
    columns = feature_columns(frame)
    values, plates = to_matrix(frame, columns), frame["Metadata_Plate"].to_numpy()
    batches = [plates == name for name in ("P0", "P1")]
    means = [values[rows].mean(axis=0) for rows in batches]
    grand = sum(rows.mean() * mean for rows, mean in zip(batches, means, strict=True))
    residual = values - np.where(batches[0][:, None], *means)
    spread = np.sqrt((residual**2).mean(axis=0))
    expected = np.empty_like(values)
    for rows in batches:
        z = ((values[rows] - grand) / spread).T
        gammas, deltas = [float(f.mean()) for f in z], [float(f.var(ddof=1)) for f in z]
        gamma_bar, tau = float(np.mean(gammas)), float(np.var(gammas, ddof=1))
        v, s = float(np.mean(deltas)), float(np.var(deltas, ddof=1))
        lam, theta = (v**2 + 2 * s) / s, (v**3 + v * s) / s
        for i, (gamma, delta) in enumerate(zip(gammas, deltas, strict=True)):
            n, g, d = len(z[i]), gamma, delta
            for _ in range(1000):
                g = (n * tau * gamma + d * gamma_bar) / (n * tau + d)
                d = (theta + 0.5 * float(((z[i] - g) ** 2).sum())) / (n / 2 + lam - 1)
            expected[rows, i] = spread[i] * (z[i] - g) / np.sqrt(d) + grand[i]
    found = to_matrix(correct(frame, [corrector_config({"corrector": "combat"})]), columns)
    np.testing.assert_allclose(found, expected, atol=1e-3)  # ours stops at a change of 1e-4


def test_combat_refuses_what_it_cannot_tell_apart() -> None:
    frame = screen()
    with pytest.raises(InputError, match="determined by batch"):
        correct(frame.with_columns(Metadata_copy="Metadata_Plate"),
                [corrector_config({"corrector": "combat", "keep": ["Metadata_copy"]})])  # fmt: skip
    with pytest.raises(InputError, match="batch P9: found one profile"):
        correct(pl.concat([frame, frame[:1].with_columns(Metadata_Plate=pl.lit("P9"))]),
                [corrector_config({"corrector": "combat"})])  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "change", "note"),
    [
        (
            {"corrector": "sphering", "reference": "Metadata_Well = 'A01'"},
            {},
            "all: 3 controls span 2 of 10 directions, shrunk by .*; condition number",
        ),
        ({"corrector": "mnn"}, {"Metadata_Plate": pl.lit("P")}, "a single batch"),
        ({"corrector": "harmony"}, {}, "6 clusters instead of 300"),
        ({"corrector": "harmony"}, {"Metadata_Plate": pl.lit("P")}, "a single batch"),
        ({"corrector": "combat"}, {"Metadata_Plate": pl.lit("P")}, "a single batch"),
        ({"corrector": "combat"}, {"Cells_0": pl.lit(1.1)}, "1 of 10 features constant"),
        ({"corrector": "tvn"}, {"Cells_0": pl.lit(1.1)}, "1 of 10 features constant over the controls, only centred"),
        ({"corrector": "cell_count"}, {"Cells_0": pl.lit(1.1)}, "1 of 10 features with few distinct values"),
    ],
)
def test_a_fallback_is_noted(settings: dict[str, object], change: dict[str, pl.Expr], note: str) -> None:
    ((_, found),) = correct_steps(screen().with_columns(**change), [corrector_config(settings)])
    assert re.search(note, found.notes[-1])


@pytest.mark.parametrize("name", ["harmony", "combat", "cell_count", "well_position"])
def test_nothing_is_noted_where_nothing_falls_back(name: str) -> None:
    config = corrector_config({"corrector": name, **({"clusters": 5} if name == "harmony" else {})})
    ((_, found),) = correct_steps(screen(), [config])
    assert found.notes == ()


def test_tvn_refuses_controls_that_are_all_equal() -> None:
    frame = screen().with_columns(pl.col("^Cells_.*$") * 0 + 1.1)
    with pytest.raises(InputError, match="rows where negcon that are all equal"):
        correct(frame, [corrector_config({"corrector": "tvn"})])


def test_tvn_refuses_more_components_than_its_controls_span() -> None:
    frame = screen(features=80)
    published = {"corrector": "tvn", "regularisation": 0.5}
    with pytest.raises(InputError, match=r"60 rows where negcon, which span 59 directions, for 80 components.*accept"):
        correct(frame, [corrector_config(published)])
    for settings in ({**published, "components": 59}, {**published, "unseen": "accept"}):
        ((_, found),) = correct_steps(frame, [corrector_config(settings)])
        assert len(found.features) == 59
    assert correct(frame, [corrector_config({"corrector": "tvn"})]).height == frame.height
    with pytest.raises(InputError, match="without regularisation features stay"):
        corrector_config({"corrector": "tvn", "components": 3})


def mechanisms(controls: int, seed: int) -> pl.DataFrame:
    """Four normalised plates of 24 treatments with eight mechanisms, at random places, whose features have the
    covariance of real controls, with a shift of each plate."""
    design = Design("demo", 4, 1, controls, 60)
    frame = plates(design, seed)
    names = feature_columns(frame)
    rng = np.random.default_rng(seed)
    shared, own = (rng.normal(size=(24, 60)) @ loadings(60) for _ in range(2))
    number = frame["Metadata_Perturbation"].str.strip_prefix("t").cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
    effect = np.where(number[:, None] >= 0, (shared[number % 8] + 0.5 * own[number]), 0)
    moa = pl.Series("Metadata_moa", [f"m{i % 8}" if i >= 0 else None for i in number], dtype=pl.String)
    return normalize(with_matrix(frame, names, to_matrix(frame, names) + effect).with_columns(moa))


def of_treatments(profiles: pl.DataFrame, features: Sequence[str]) -> dict[str, np.ndarray]:
    """mAP against treated wells, and NSC, of each treatment."""
    rivals = RetrievalConfig(negatives=PairRule(where="treated"))
    right = nsc(profiles, features, NscConfig(mechanism="Metadata_moa", batch=None)).scores.filter(score="NSC")
    return {
        "mAP": treatment_scores(profiles, features, rivals, 0)["mAP"].to_numpy(),
        "NSC": right.sort("treatment")["value"].to_numpy(),
    }


@pytest.mark.parametrize("controls", [6, 16, 64])
def test_no_default_corrector_costs_what_is_there(controls: int) -> None:
    """No more than the paired interval of one such experiment. As published, sphering and tvn lose mechanisms."""
    gains: dict[str, list[np.ndarray]] = {}
    names = [name for name in CORRECTORS if name != "chromosome_arm"]  # which needs genes
    for seed in range(3):
        frame = mechanisms(controls, seed)
        before = of_treatments(frame, feature_columns(frame))
        for name in names:
            try:
                ((_, found),) = correct_steps(frame, [corrector_config({"corrector": name})])
            except InputError:
                assert name == "well_position"  # too few wells of a position to tell it from its treatment
                continue
            after = of_treatments(found.profiles, found.features)
            for metric, values in after.items():
                gains.setdefault(f"{name}, {metric}", []).append(values - before[metric])
    for name, each in gains.items():
        ends = [mean_interval(gain, 0) or (0, 0) for gain in each]  # of one experiment
        assert np.mean(each) >= -np.mean([high - low for low, high in ends]) / 2, name


def test_harmony_with_one_cluster_is_scikit_learn_s_ridge() -> None:
    frame = screen()
    values, batch = to_matrix(frame, feature_columns(frame)), np.eye(3)[frame["Metadata_Plate"].rank("dense") - 1]
    found = harmonise(values, batch, HarmonyConfig(clusters=1, ridge=2.0))
    shifts = batch @ Ridge(alpha=2.0).fit(batch, values).coef_.T
    np.testing.assert_allclose(found, values - shifts, atol=1e-8)


def test_harmony_mixes_two_shifted_clusters() -> None:
    rng = np.random.default_rng(0)
    centre = np.array([[6.0, 0, 0], [0, 6.0, 0]])
    kind, batch = rng.integers(2, size=400), rng.integers(2, size=400)
    values = centre[kind] + rng.normal(0, 0.3, (400, 3)) + batch[:, None] * np.array([0.5, 0.5, 2.5])
    found = harmonise(values, np.eye(2)[batch], HarmonyConfig(clusters=2))
    for cluster in (0, 1):
        gap = [found[(kind == cluster) & (batch == b)].mean(axis=0) for b in (0, 1)]
        assert np.linalg.norm(gap[0] - gap[1]) < 0.4
    assert np.linalg.norm(found[kind == 0].mean(axis=0) - found[kind == 1].mean(axis=0)) > 7


def test_chromosome_arm_loses_what_unexpressed_genes_share() -> None:
    rng = np.random.default_rng(0)
    arm = np.repeat(["1p", "8q"], 40)
    shift = np.where(arm == "8q", 3.0, 0.0)
    frame = pl.DataFrame({
        "Metadata_Perturbation": [f"g{i}" for i in range(80)], "Metadata_arm": arm,
        "Metadata_zfpkm": np.tile([-5.0] * 30 + [2.0] * 10, 2), "Cells_A": shift + rng.normal(0, 0.1, 80),
    })  # fmt: skip
    ((_, state),) = correct_steps(frame, [corrector_config({"corrector": "chromosome_arm"})])
    found = state.profiles
    assert state.notes == ("2 of 2 arms corrected: they have more than 20 unexpressed genes",)
    assert abs(found.filter(Metadata_arm="8q")["Cells_A"].mean()) < 0.1  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no arm"):
        correct(frame, [corrector_config({"corrector": "chromosome_arm", "more_than": 30})])


def test_the_chain_runs_in_its_order() -> None:
    chain = [{"corrector": "pca", "components": 3}, {"corrector": "clip", "limit": 1}]
    steps = list(correct_steps(screen(), map(corrector_config, chain)))
    assert [name for name, _ in steps] == ["pca", "clip"]
    assert np.abs(to_matrix(steps[0][1].profiles, steps[0][1].features)).max() > 1
    assert np.abs(to_matrix(steps[1][1].profiles, steps[1][1].features)).max() == 1


@pytest.mark.parametrize(("settings", "message"), [({"corrector": "magic"}, "well_position"), ({}, "unknown"),
                                                   ({"corrector": "clip", "limit": -1}, "limit")])  # fmt: skip
def test_settings_that_do_not_exist(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        corrector_config(settings)
