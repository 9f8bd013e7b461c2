from __future__ import annotations

import pytest
from pydantic import ValidationError

from morpho_assets.errors import InputError
from morpho_assets.profiles.subset import SubsetConfig, subset

FEATURES = (
    "Nuclei_AreaShape_Area",
    "Nuclei_AreaShape_Zernike_2_0",
    "Cells_AreaShape_Area",
    "Nuclei_Intensity_MeanIntensity_DNA",
    "Nuclei_Intensity_MeanIntensity_ER",
    "Nuclei_Correlation_Correlation_DNA_ER",
    "Nuclei_Texture_Contrast_DNA_3_00_256",
    "Nucleoli_Texture_Contrast_ER_3_00_256",
    "Embedding_0",
)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, range(9)),
        ({"modules": ["AreaShape"]}, [0, 1, 2]),
        ({"modules": ["AreaShape"], "without": "Zernike"}, [0, 2]),
        ({"modules": ["AreaShape"], "compartments": ["Nuclei"], "matching": "Zern|Perimeter"}, [1]),
        ({"compartments": ["Nucleoli"]}, [7]),
        ({"channels": ["DNA"]}, [3, 6]),
        ({"channels": ["DNA"], "unstained": True}, [0, 1, 2, 3, 6, 8]),
        ({"channels": ["DNA", "ER"]}, [3, 4, 5, 6, 7]),
        ({"compartments": ["Embedding"]}, [8]),
    ],
)
def test_a_subset_is_what_the_names_say(asked: dict[str, object], kept: list[int]) -> None:
    assert subset(FEATURES, SubsetConfig.model_validate(asked)) == [FEATURES[i] for i in kept]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"modules": ["Areashape"]}, r"modules: found Areashape, .*Did you mean AreaShape\?"),
        ({"channels": ["Mito"]}, "channels: found Mito, which no feature has"),
        ({"matching": "Zernike", "without": "Nuclei"}, "none of 9 features with matching Zernike, without Nuclei"),
    ],
)
def test_what_no_feature_has_is_told(asked: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        subset(FEATURES, SubsetConfig.model_validate(asked))


def test_a_broken_expression_is_told_at_once() -> None:
    with pytest.raises(ValidationError, match="no regular expression"):
        SubsetConfig(matching="Zernike(")
