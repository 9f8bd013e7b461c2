"""The table of features: names of every module taken apart, one by hand for each form that a name has."""

from __future__ import annotations

import pytest

from morpho_assets.lake.features import FEATURES, family_of, feature_table
from morpho_assets.lake.tables import TABLES

CHANNELS = {"DNA", "ER", "RNA", "AGP", "Mito", "Lamin_B1", "DNA_far"}


def rows(*columns: str, table: str = "treatment_profiles") -> list[dict]:
    found = feature_table({table: columns}, [TABLES[table]], CHANNELS)
    assert found.schema == FEATURES.schema
    return found.drop("meaning", "tables").to_dicts()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Nuclei_AreaShape_Area", ("Nuclei", "AreaShape", "Area", [], None)),
        ("Cells_AreaShape_Zernike_3_1", ("Cells", "AreaShape", "Zernike", [], "3_1")),
        ("Nuclei_Texture_Entropy_RNA_5_02_256", ("Nuclei", "Texture", "Entropy", ["RNA"], "5_02_256")),
        ("Cytoplasm_Granularity_3_Mito", ("Cytoplasm", "Granularity", None, ["Mito"], "3")),
        ("Cells_Correlation_RWC_ER_DNA", ("Cells", "Correlation", "RWC", ["ER", "DNA"], None)),
        ("Cells_RadialDistribution_FracAtD_AGP_1of4", ("Cells", "RadialDistribution", "FracAtD", ["AGP"], "1of4")),
        ("Nuclei_Location_CenterMassIntensity_X_DNA",
         ("Nuclei", "Location", "CenterMassIntensity_X", ["DNA"], None)),
        ("Large_Nucleoli_AreaShape_Area", ("Large_Nucleoli", "AreaShape", "Area", [], None)),
        ("Cells_Correlation_RWC_Lamin_B1_DNA", ("Cells", "Correlation", "RWC", ["Lamin_B1", "DNA"], None)),
        ("Nuclei_Texture_Entropy_DNA_far_5_02_256", ("Nuclei", "Texture", "Entropy", ["DNA_far"], "5_02_256")),
        ("Embedding_17", (None, "Embedding", None, [], "17")),
        ("ImageQuality_FocusScore_DNA", (None, "ImageQuality", "FocusScore", ["DNA"], None)),
        ("Joined_cellprofiler_Nuclei_AreaShape_Area", (None, "Joined", "cellprofiler_Nuclei_AreaShape_Area", [], None)),
    ],
)  # fmt: skip
def test_a_name_says(name, expected):
    names = ("compartment", "module", "measurement", "channels", "parameters")
    assert rows(name) == [{"feature": name, **dict(zip(names, expected, strict=True))}]


def test_no_features_no_rows():
    assert rows() == []
    assert rows("Metadata_Plate", "Metadata_target", "study") == []


def test_a_feature_of_several_tables_has_one_row_and_names_them():
    tables = [TABLES["well_profiles"], TABLES["normalized_profiles"]]
    found = feature_table({table.name: ["Nuclei_AreaShape_Area", "Metadata_Well"] for table in tables}, tables, set())
    assert found["tables"].to_list() == [["well_profiles", "normalized_profiles"]]


def test_annotation_and_declared_columns_are_no_features():
    profiles = TABLES["well_profiles"]
    assert family_of(profiles, "Metadata_smiles") is None
    assert family_of(profiles, "Metadata_Count_Cells") is None
    assert family_of(profiles, "Nuclei_AreaShape_Area") is not None
