import polars as pl
import pytest

from morpho_assets.simulator.chemistry import ACTIVE, PLAIN, SCAFFOLDS, structure_smiles
from morpho_assets.simulator.screen import DRIVERS, ScreenDesign, draw_screen, write_screen


def test_a_screen_is_its_seed():
    one, same, other = draw_screen(seed=1), draw_screen(seed=1), draw_screen(seed=2)
    assert one.assays.equals(same.assays)
    assert one.morphology.equals(same.morphology)
    assert not one.assays.equals(other.assays)
    assert (one.compounds.height, one.truth.height, sum(DRIVERS.values())) == (400, 40, 40)


def test_assays_have_hits_enough_to_learn_from_and_untested_compounds():
    screen = draw_screen(ScreenDesign(compounds=200, tested=0.5))
    shares = screen.assays.group_by("assay").agg(pl.col("active").mean(), pl.len())
    assert shares["active"].min() > 0.05
    assert shares["active"].max() < 0.6
    assert 60 < shares["len"].min() < 140


def test_scaffold_and_substituents_are_drawn_apart():
    screen = draw_screen()
    structure = screen.truth.filter(driver="structure")["assay"]
    hits = screen.assays.filter(pl.col("assay").is_in(structure.to_list())).join(screen.compounds, on="compound")
    of_scaffold = hits.group_by("scaffold").agg(pl.col("active").mean(), pl.len()).filter(pl.col("len") > 30)
    assert of_scaffold["active"].is_between(0.01, 0.7).mean() > 0.8
    for name in ("batch", "plate"):
        assert screen.compounds.group_by(name).agg(pl.col("scaffold").n_unique())["scaffold"].min() > 20


def test_a_hundred_scaffolds_keep_theirs_whatever_the_substituents():
    pytest.importorskip("rdkit")
    from morpho_assets.predict.activity.structures import murcko_scaffold

    found = set()
    for number in range(len(SCAFFOLDS)):
        own = {murcko_scaffold(structure_smiles(number, [one, other]))
               for one, other in ((PLAIN[0], PLAIN[0]), *zip(ACTIVE, reversed(ACTIVE), strict=True))}  # fmt: skip
        assert len(own) == 1, SCAFFOLDS[number]
        found |= own
    assert len(found) == len(SCAFFOLDS) == 100


def test_tables_are_written(tmp_path):
    write_screen(tmp_path, ScreenDesign(compounds=50), seed=3)
    assert sorted(file.stem for file in tmp_path.glob("*.csv")) == [
        "assays", "compounds", "expression", "morphology", "truth",
    ]  # fmt: skip
    assert pl.read_csv(tmp_path / "morphology.csv").shape == (50, 61)
