"""Coefficients: those of the logits, drawn with the greatest ones."""

import numpy as np
import pytest

from morpho_assets.predict.classifiers.linear import LogisticConfig, RidgeConfig
from morpho_assets.predict.classifiers.nearest import CentroidConfig
from morpho_assets.predict.models import fit_model
from morpho_assets.report.coefficients import coefficient_heatmap


def fitted(config, d=6):
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=120)
    x = rng.normal(size=(120, d)) * np.arange(1, d + 1)
    x[:, 1] += 6 * codes
    return fit_model(config, x, np.array(["a", "b", "c"])[codes], [f"Nuclei_{i}" for i in range(d)]), x


@pytest.mark.parametrize(
    "config",
    [LogisticConfig(C=(0.1,)), LogisticConfig(C=(0.1,), pca=3), LogisticConfig(C=(0.1,), standardize=False),
     RidgeConfig(alpha=(10.0,), calibrate=None)],
)  # fmt: skip
def test_a_coefficient_is_the_rise_of_the_logit_with_a_standard_deviation(config):
    model, x = fitted(config)
    found = model.coefficients()
    assert found.shape == (3, 6)
    step = np.zeros((1, 6))
    step[0, 1] = 0.1 * x[:, 1].std()
    start, end = (np.log(model.predict(x.mean(axis=0) + at)) for at in (0 * step, step))
    rise = (end - start)[0]
    np.testing.assert_allclose(found[:, 1] - found[:, 1].mean(), (rise - rise.mean()) / 0.1, atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=0), 0, atol=1e-9)
    assert np.abs(found).max(axis=0).argmax() == 1


def test_what_is_not_linear_has_none():
    assert fitted(CentroidConfig())[0].coefficients() is None


@pytest.mark.parametrize("shape", [(3, 200), (1, 2), (0, 0), (3, 5)], ids=str)
def test_any_number_is_drawn(shape):
    weights = np.zeros(shape) if shape == (3, 5) else np.random.default_rng(0).normal(size=shape)
    image = coefficient_heatmap(weights, [f"class {i}" for i in range(shape[0])], ["x" * 60] * shape[1])
    assert image[:4] == b"RIFF"
    assert len(image) < 150_000
