"""Against cp_measure 0.3.0 on fields for which there are no CellProfiler values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from morpho_assets.measure import PROFILES, MeasurementConfig, measure_site
from morpho_assets.measure.oracles import CHECKS
from morpho_assets_tests.measure.agreement import disagreeing
from morpho_assets_tests.measure.fields import CHANNELS, COMPARTMENTS, Labels, real_image, real_labels, synthetic

pytest.importorskip("centrosome", reason="cp_measure's centrosome has no wheel here")
# cp_measure's dependencies (centrosome, mahotas, scikit-image) warn about deprecations of numpy's and their own.
pytestmark = pytest.mark.filterwarnings("ignore")

CHECKED = [check for check in CHECKS if check.test == "test_cp_measure::test_real_field"]
PAIRED = {
    "Correlation_Pearson": "Correlation_Correlation_{a}_{b}",
    "Correlation_Manders_1": "Correlation_Manders_{a}_{b}",
    "Correlation_Manders_2": "Correlation_Manders_{b}_{a}",
    "Correlation_Overlap": "Correlation_Overlap_{a}_{b}",
    "Correlation_K_1": "Correlation_K_{a}_{b}",
    "Correlation_K_2": "Correlation_K_{b}_{a}",
}
# Where cp_measure itself does not agree with CellProfiler: tied maxima fall first in raster order, ranks are within
# the object, and undefined textures are NaN.
SETTINGS = PROFILES["jump"].model_dump() | {
    "intensity": {"ties": "first"},
    "radial_distribution": {"ties": "first", "zernike_degree": 9},
}


def cp_measure_features(image: NDArray[np.float64], labels: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    """cp_measure's features of one compartment under CellProfiler's names, without the compartment."""
    from cp_measure.bulk import get_core_measurements
    from cp_measure.core import measurecolocalization as pairs

    core = get_core_measurements(legacy=True)
    found: dict[str, NDArray[np.float64]] = {}
    for name in ("sizeshape", "zernike", "feret"):
        shape = core[name](labels, image[0])
        found |= {f"AreaShape_{key}": value for key, value in shape.items()}
    for channel, pixels in zip(CHANNELS, image, strict=False):
        found |= {f"{key}_{channel}": value for key, value in core["intensity"](labels, pixels).items()}
        granularity = core["granularity"](labels, pixels, subsample_size=0.5, image_sample_size=0.5)
        found |= {f"{key}_{channel}": value for key, value in granularity.items()}
        for scale in (3, 5, 10):
            for key, value in core["texture"](labels, pixels, scale=scale).items():
                feature, rest = key.split("_", 1)
                found[f"Texture_{feature}_{channel}_{rest}"] = np.nan_to_num(value)
        for name in ("radial_distribution", "radial_zernikes"):
            for key, value in core[name](labels, pixels).items():
                module, feature, rest = key.split("_", 2)
                found[f"{module}_{feature}_{channel}_{rest}"] = value
    for i, a in enumerate(CHANNELS[: len(image)]):
        for j, b in enumerate(CHANNELS[:i]):
            for measure in (
                pairs.get_correlation_pearson,
                pairs.get_correlation_manders_fold,
                pairs.get_correlation_overlap,
            ):
                for key, value in measure(image[j], image[i], labels).items():
                    if key in PAIRED:
                        found[PAIRED[key].format(a=b, b=a)] = value
    return found


def compare(image: NDArray[Any], labels: Labels, compartments: list[str]) -> None:
    ours = measure_site(image, labels, CHANNELS[: len(image)], MeasurementConfig.model_validate(SETTINGS))
    for compartment in compartments:
        theirs = cp_measure_features(image.astype(np.float64), labels[compartment])
        shared = {name: value for name, value in theirs.items() if f"{compartment}_{name}" in ours.columns}
        listed = [name for name in ours.columns if any(check.covers(name) for check in CHECKED)]
        assert {f"{compartment}_{name}" for name in shared} == {n for n in listed if n.startswith(f"{compartment}_")}
        wrong = {
            name: int(bad.sum())
            for name, value in shared.items()
            if (bad := disagreeing(ours[f"{compartment}_{name}"].to_numpy(), np.asarray(value, float))).any()
        }
        assert wrong == {}


def test_synthetic_field_with_touching_cells() -> None:
    image, labels = synthetic(1, side=120, cells=6, channels=2)
    compare(image, labels, ["Nuclei", "Cells", "Cytoplasm"])


def test_texture_of_few_levels() -> None:
    """8 levels, as CellProfiler 2 had them, at a distance that the profiles do not have."""
    from cp_measure.core.measuretexture import get_texture

    image, labels = synthetic(1, side=120, cells=6, channels=1)
    settings = dict.fromkeys(MeasurementConfig.model_fields) | {"texture": {"scales": [2], "gray_levels": 8}}
    ours = measure_site(image, labels, ["DNA"], MeasurementConfig.model_validate(settings))
    theirs = get_texture(labels["Cells"], image[0].astype(np.float64), scale=2, gray_levels=8)
    assert len(theirs) == 52
    for key, value in theirs.items():
        feature, rest = key.split("_", 1)
        mine = ours[f"Cells_Texture_{feature}_DNA_{rest}"].to_numpy()
        assert not disagreeing(mine, np.nan_to_num(value)).any(), key


@pytest.mark.slow
@pytest.mark.parametrize(("well", "channels", "compartments"), [("A21", 2, ["Nuclei"]), ("D08", 3, COMPARTMENTS)])
def test_real_field(reference_data: Path, well: str, channels: int, compartments: list[str]) -> None:
    labels = real_labels(reference_data / "cellprofiler_reference" / "segmentation" / well)
    image = (real_image(reference_data, well)[:channels] / 65535).astype(np.float32)
    compare(image, labels, compartments)
