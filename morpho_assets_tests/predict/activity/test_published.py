"""The published set (Moshkov 2023): its folds from its SMILES, and every count of its page from its table of scores."""

import gzip

import numpy as np
import polars as pl
import pytest

from morpho_assets.predict.activity.folds import same_fold_together, whole_folds
from morpho_assets.predict.activity.overlap import overlap_table, regions, shared, union, well_predicted

CS, MO, GE, RAW = "cp_es_op", "mobc_es_op", "ge_es_op", "mo_es_op"


@pytest.fixture(scope="module")
def scores(reference_data):
    table = pl.read_csv(reference_data / "moshkov2023/scaffold_median_AUC.csv")
    return table.rename({"assay_id": "assay", "auc": "auroc", "descriptor": "predictor"})


@pytest.mark.parametrize(
    ("predictor", "count"),
    [
        (CS, 16), (GE, 19), (MO, 28), (RAW, 26),
        ("late_fusion_cs_ge", 18), ("late_fusion_cs_mobc", 31), ("late_fusion_ge_mobc", 28),
        ("mobc_cp_es_op", 17), ("ge_cp_es_op", 14), ("ge_mobc_es_op", 21), ("ge_mobc_cp_es_op", 17),
    ],
)  # fmt: skip
def test_assays_above_90(scores, predictor, count):
    assert len(well_predicted(scores, 0.9)[predictor]) == count


def test_late_fusion_of_all(scores):
    names = [name for name in scores["predictor"].unique() if name.startswith("late_fusion")]
    of_all = [name for name in names if name.count("_") == 4]
    assert {name: len(well_predicted(scores, 0.9)[name]) for name in of_all} == dict.fromkeys(of_all, 28)
    assert len(of_all) == 1


def test_assays_above_70(scores):
    well = well_predicted(scores, 0.7)
    assert [len(well[name]) for name in (CS, MO, GE)] == [102, 102, 71]


def test_retrospective_unions(scores):
    well = well_predicted(scores, 0.9)
    assert len(union(well, [CS, MO])) == 41
    assert len(union(well, [GE, MO])) == 41
    assert len(union(well, [GE, CS])) == 33
    assert len(union(well, [CS, GE, MO])) == 52
    assert not shared(well, [CS, GE, MO])
    parts = regions(well, [CS, GE, MO])
    assert sum(map(len, parts.values())) == 52
    table = overlap_table(scores, [CS, GE, MO], [0.9])
    assert table.filter(number=3).select("union", "shared", "alone").row(0) == (52, 0, 0)


@pytest.mark.slow
def test_all_five_folds_from_the_smiles(reference_data):
    pytest.importorskip("rdkit")
    from morpho_assets.predict.activity.structures import murcko_scaffold

    folder = reference_data / "moshkov2023"
    smiles = gzip.decompress((folder / "smiles.txt.gz").read_bytes()).decode().splitlines()[1:]
    chosen = np.load(folder / "compounds16978to16170.npy")
    scaffolds = [murcko_scaffold(smiles[row]) for row in chosen]
    assert len(set(scaffolds)) == 3262
    folds = whole_folds(scaffolds)
    assert same_fold_together(folds, scaffolds)
    published = np.load(folder / "scaffold_based_split.npz")["features"]
    ours = {frozenset(np.flatnonzero(folds == fold).tolist()) for fold in range(5)}
    assert ours == {frozenset(fold.tolist()) for fold in published}
