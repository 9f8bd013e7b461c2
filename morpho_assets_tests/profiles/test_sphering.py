from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.profiles.features import feature_columns, to_matrix
from morpho_assets.profiles.sphering import SpheringConfig, correct_sphering, fit_whitening
from morpho_assets_tests.profiles.conftest import plate

THEIRS = {"epsilon": 1e-6, "unseen": "accept"}
KINDS = ["ZCA", "ZCA-cor", "PCA", "PCA-cor"]


def mixed(seed: int, rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(0, 9, columns)


@given(st.integers(0, 99), st.sampled_from(KINDS), st.sampled_from(["singular_values", "eigenvalues"]))
@settings(max_examples=30, deadline=None)
def test_the_output_is_white(seed: int, kind: str, added_to: str) -> None:
    values = mixed(seed, 60, 8)
    config = SpheringConfig.model_validate({"method": kind, "epsilon": 0, "added_to": added_to})
    white = fit_whitening(values, config)(values)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(8), atol=1e-6)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "columns"), [(40, 6), (7, 20)], ids=["many controls", "fewer controls than features"])
def test_agrees_with_pycytominer(kind: str, rows: int, columns: int) -> None:
    transform = pytest.importorskip("pycytominer.operations.transform", reason="the outside reference")
    import pandas as pd

    fitted, others = mixed(1, rows, columns), mixed(2, 10, columns)
    theirs = (
        transform.Spherize(method=kind, return_numpy=True).fit(pd.DataFrame(fitted)).transform(pd.DataFrame(others))
    )
    ours = fit_whitening(fitted, SpheringConfig.model_validate({"method": kind, **THEIRS}))(others)
    if kind.startswith("PCA"):  # components have no sign, and those past the rank no direction
        rank = min(rows - 1, columns)
        ours, theirs = np.abs(ours[:, :rank]), np.abs(theirs[:, :rank])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_on_a_real_plate(jump_plates: pl.DataFrame) -> None:
    transform = pytest.importorskip("pycytominer.operations.transform", reason="the outside reference")
    frame = jump_plates.filter(Metadata_Plate="BR00117024")
    columns = [c for c in feature_columns(frame)[:200] if frame[c].null_count() == 0]
    ours = correct_sphering(frame, columns, SpheringConfig.model_validate(THEIRS))
    controls = frame.filter(Metadata_control_type="negcon").select(columns).to_pandas()
    theirs = transform.Spherize(method="ZCA-cor", return_numpy=True).fit(controls)
    expected = theirs.transform(frame.select(columns).to_pandas())
    np.testing.assert_allclose(to_matrix(ours.profiles, columns), expected, rtol=1e-5, atol=1e-5)


def test_more_regularisation_is_weaker() -> None:
    values = mixed(0, 60, 5)
    spread = [fit_whitening(values, SpheringConfig(epsilon=e))(values).std() for e in (0, 1, 100)]
    assert spread[0] > spread[1] > spread[2]


def test_groups_are_sphered_apart() -> None:
    frame = plate()
    columns = feature_columns(frame)
    together = correct_sphering(frame, columns, SpheringConfig(by=("Metadata_Plate",)))
    alone = correct_sphering(frame.filter(Metadata_Plate="P1"), columns, SpheringConfig())
    found = together.profiles.filter(Metadata_Plate="P1")
    np.testing.assert_allclose(to_matrix(found, columns), to_matrix(alone.profiles, columns), atol=1e-9)


def test_pca_gives_components() -> None:
    frame = plate(features=3)
    found = correct_sphering(frame, feature_columns(frame), SpheringConfig(method="PCA"))
    assert found.features == ("PC_0001", "PC_0002", "PC_0003")
    assert not feature_columns(found.profiles)


@pytest.mark.parametrize("controls", [0, 1])
def test_too_few_controls(controls: int) -> None:
    frame = plate(controls=controls, plates=1)
    with pytest.raises(InputError, match=f"{controls} rows where negcon"):
        correct_sphering(frame, feature_columns(frame), SpheringConfig())


def test_constant_and_equal_controls() -> None:
    frame = plate(plates=1).with_columns(Cells_F_0=pl.lit(1.0))
    with pytest.raises(InputError, match="constant"):
        correct_sphering(frame, feature_columns(frame), SpheringConfig())
    assert correct_sphering(frame, feature_columns(frame), SpheringConfig(method="ZCA")).profiles.height == 48
    with pytest.raises(InputError, match="all equal"):
        fit_whitening(np.ones((5, 2)), SpheringConfig(method="ZCA"))


@pytest.mark.parametrize("kind", KINDS)
def test_controls_that_span_fewer_directions_than_features_are_refused_but_with_shrinkage(kind: str) -> None:
    few = mixed(0, 7, 20)
    published = SpheringConfig.model_validate({"method": kind, "epsilon": 1})
    with pytest.raises(InputError, match=r"7 rows where negcon, which span 6 directions, for 20 features.*accept"):
        fit_whitening(few, published)
    assert np.isfinite(fit_whitening(few, published.model_copy(update={"unseen": "accept"}))(few)).all()
    shrunk = SpheringConfig.model_validate({"method": kind})
    if kind.startswith("ZCA"):
        assert np.isfinite(fit_whitening(few, shrunk)(few)).all()
    else:  # components past the controls are no directions
        with pytest.raises(InputError, match="span 6 directions"):
            fit_whitening(few, shrunk)


def test_shrinkage_is_scikit_learn_s() -> None:
    from sklearn.covariance import ledoit_wolf

    for rows, columns in ((60, 8), (9, 20)):
        values = mixed(3, rows, columns)
        theirs, _ = ledoit_wolf(values)
        eigen, vectors = np.linalg.eigh(theirs * rows / (rows - 1))
        white = (values - values.mean(axis=0)) @ (vectors / np.sqrt(eigen)) @ vectors.T
        ours = fit_whitening(values, SpheringConfig(method="ZCA"))(values)
        np.testing.assert_allclose(ours, white, rtol=1e-7, atol=1e-9)


def test_what_it_rests_on_is_noted() -> None:
    frame = plate()
    columns = feature_columns(frame)
    (note,) = correct_sphering(frame, columns, SpheringConfig(by=("Metadata_Plate",))).notes
    assert "controls span" in note
    assert "shrunk by" in note
    assert "condition number at most" in note
