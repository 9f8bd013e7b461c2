"""The nuclear stain shines in the nuclei, and no other does so more."""

import numpy as np
import polars as pl
import pytest
import tifffile

from morpho_assets.imaging.segmentation import ExternalConfig, WatershedConfig, cytoplasm_of, make_segmenter
from morpho_assets.measure.stains import nuclear_channel, nuclear_contrast, stain_fault


def cells(dna: float, mito: float, number: int = 30) -> pl.LazyFrame:
    """Cells whose nuclei are so many times as bright as their cytoplasm, over a background of 0.1."""
    rows = {"Metadata_Well": ["A01"] * number, "Metadata_Site": [1] * number}
    for name, value in {"DNA": dna, "Mito": mito}.items():
        rows[f"Nuclei_Intensity_MeanIntensity_{name}"] = [0.1 + 0.1 * value] * number
        rows[f"Cytoplasm_Intensity_MeanIntensity_{name}"] = [0.2] * number
    return pl.LazyFrame(rows)


QUALITY = pl.DataFrame(
    {
        "Metadata_Well": ["A01"] * 2,
        "Metadata_Site": [1] * 2,
        "channel": ["DNA", "Mito"],
        "ImageQuality_MinIntensity": [0.1] * 2,
    }
)


def test_contrast_is_over_the_background():
    assert nuclear_contrast(cells(8, 1.5), QUALITY) == pytest.approx({"DNA": 8, "Mito": 1.5})
    assert nuclear_contrast(cells(8, 1.5, number=5), QUALITY) == {}
    assert nuclear_contrast(cells(8, 1.5).select("Metadata_Well", "Metadata_Site"), QUALITY) == {}


def test_only_a_stain_that_another_outshines_is_at_fault():
    assert stain_fault({"DNA": 8, "Mito": 1.5}, "DNA") is None
    assert "may be exchanged with Mito" in stain_fault({"DNA": 1.5, "Mito": 4}, "DNA")
    assert "DNA does not look like a nuclear stain" in stain_fault({"DNA": 2, "Mito": 1.9}, "DNA")
    assert stain_fault({"DNA": 8}, "DNA") is None
    assert stain_fault({"ER": 8, "RNA": 8}, None) is None


def test_the_nuclear_channel_is_that_of_the_segmentation():
    assert nuclear_channel(WatershedConfig(), ["ER", "DNA"]) == "DNA"
    assert nuclear_channel(WatershedConfig(nuclei={"channel": "Hoechst"}), ["ER", "DNA"]) is None
    outside = ExternalConfig(method="external", nuclei="n.tif", cells="c.tif")
    assert nuclear_channel(outside, ["ER", "DNA"]) == "DNA"


@pytest.mark.slow
def test_every_exchange_with_dna_is_noticed_in_a_real_field(reference_data):
    folder = next((reference_data / "gallery").rglob("Images"))
    numbers = {"DNA": 5, "ER": 4, "RNA": 3, "AGP": 2, "Mito": 1}
    image = np.stack([tifffile.imread(next(folder.glob(f"r04c14*-ch{n}sk*"))) for n in numbers.values()])
    image = image / np.float32(65535)
    assert stain_fault(_contrast(image, list(numbers)), "DNA") is None
    for other in range(1, 5):
        order = list(range(5))
        order[0], order[other] = other, 0
        fault = stain_fault(_contrast(image[order], list(numbers)), "DNA")
        assert fault is not None, other


def _contrast(image: np.ndarray, channels: list[str]) -> dict[str, float]:
    """Contrast with the masks that the default segmentation finds on whatever is called DNA."""
    from scipy import ndimage

    found = make_segmenter(WatershedConfig()).segment(image, channels)
    cytoplasm = cytoplasm_of(found.nuclei, found.cells)
    index = np.intersect1d(np.unique(found.nuclei)[1:], np.unique(cytoplasm))
    rows = {"Metadata_Well": ["A01"] * len(index), "Metadata_Site": [1] * len(index)}
    for name, plane in zip(channels, image, strict=True):
        for compartment, labels in {"Nuclei": found.nuclei, "Cytoplasm": cytoplasm}.items():
            rows[f"{compartment}_Intensity_MeanIntensity_{name}"] = ndimage.mean(plane, labels, index)
    dark = pl.DataFrame(
        {
            "Metadata_Well": ["A01"] * len(channels),
            "Metadata_Site": [1] * len(channels),
            "channel": channels,
            "ImageQuality_MinIntensity": image.min(axis=(1, 2)),
        }
    )
    return nuclear_contrast(pl.LazyFrame(rows), dark)
