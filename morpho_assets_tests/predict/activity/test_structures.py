import numpy as np
import pytest

pytest.importorskip("rdkit")

from morpho_assets.predict.activity.structures import (
    NO_SMILES,
    UNREADABLE,
    descriptors,
    fingerprints,
    murcko_scaffold,
    scaffold_groups,
    structures,
)

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def test_structures_are_standardised_and_wrong_ones_say_what_is_wrong():
    found = structures([ASPIRIN, "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", "c1ccc(", None, " ", "CCO"])
    assert found["standard_smiles"][0] == found["standard_smiles"][1]
    assert found["inchikey"][0] == found["inchikey"][1] == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert found["scaffold"].to_list() == ["c1ccccc1", "c1ccccc1", None, None, None, ""]
    assert found["problem"].to_list() == [None, None, UNREADABLE, NO_SMILES, NO_SMILES, None]
    groups = scaffold_groups(found)
    assert groups[0] == groups[1] == "c1ccccc1"
    assert len(set(groups)) == 5


@pytest.mark.parametrize("kind", ["morgan", "morgan_counts", "rdkit", "maccs", "atom_pairs", "torsions"])
def test_fingerprints_are_numbers_of_structures_alone(kind):
    found = fingerprints([ASPIRIN, "c1ccc(", None, "Cc1ccccc1"], kind, bits=256)
    assert found.shape == (4, 167 if kind == "maccs" else 256)
    assert np.isnan(found[1:3]).all()
    assert (found[0] > 0).any()
    assert (found[0] != found[3]).any()


def test_descriptors_have_names():
    values, names = descriptors([ASPIRIN, None])
    assert values[0, names.index("MolWt")] == pytest.approx(180.16, abs=0.01)
    assert np.isnan(values[1]).all()


def test_a_scaffold_has_no_chirality_and_an_unreadable_smiles_none():
    assert murcko_scaffold("C[C@H]1CCCN1Cc1ccccc1") == "c1ccc(CN2CCCC2)cc1"
    assert murcko_scaffold("CCO") == ""
    with pytest.raises(ValueError, match="cannot read"):
        murcko_scaffold("c1ccc(")
