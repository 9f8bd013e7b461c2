"""Enrichment: what was planted is called, and wells that only differ as wells do are not."""

import numpy as np
import polars as pl
import pytest

from morpho_assets.predict.enriched import EnrichmentCallsConfig, call_treatments, enrich_plate

WELLS = [f"{row}{column:02d}" for row in "ABCDEF" for column in range(1, 9)]
CONTROLS = WELLS[::6]
NAMES = ["mitotic", "large"]


def plates(effects, number=3, cells=120, correlation=0.05, seed=0):
    """Rows of `enrich_plate` for plates on which treatment t, one well a plate, moves phenotype p by `effects[t, p]`
    standard deviations of cells; wells have effects of their own."""
    rng = np.random.default_rng(seed)
    frames = []
    for plate in range(number):
        well = np.repeat(WELLS, cells)
        own = rng.normal(0, np.sqrt(correlation), (len(WELLS), 2))
        for index, name in enumerate(WELLS):
            for phenotype in range(2):
                own[index, phenotype] += effects.get((name, phenotype), 0)
        values = np.repeat(own, cells, axis=0) + rng.normal(0, np.sqrt(1 - correlation), (len(well), 2))
        frame = enrich_plate(well, 1 / (1 + np.exp(-values)), NAMES, CONTROLS)
        frames.append(frame.with_columns(Metadata_Plate=pl.lit(f"P{plate}"), treatment=pl.concat_str(
            pl.lit("drug "), "Metadata_Well")))  # fmt: skip
    return pl.concat(frames)


def test_null_plates_are_not_called_on_wells_though_cells_would_call_them():
    called, by_cells = [], []
    for seed in range(10):
        rows = plates({}, seed=seed)
        called.append((call_treatments(rows)["q_value"] < 0.05).mean())
        treated = rows.filter(~pl.col("control"))
        by_cells.append((treated["p_cells"] < 0.05).mean())
    assert np.mean(called) <= 0.05
    assert np.mean(by_cells) > 0.15


def test_p_values_of_null_plates_are_even():
    p = np.concatenate([call_treatments(plates({}, seed=seed))["p_value"] for seed in range(10)])
    for level in (0.05, 0.2, 0.5):
        assert abs((p < level).mean() - level) < 0.04


def test_planted_pairs_are_found_with_their_sign():
    effects = {("A02", 0): 1.5, ("B03", 1): -1.5, ("C05", 0): 1.2}
    calls = call_treatments(plates(effects, number=4))
    found = {(row["treatment"], row["phenotype"]): row["called"] for row in calls.to_dicts() if row["called"]}
    for (well, phenotype), effect in effects.items():
        assert found.pop((f"drug {well}", NAMES[phenotype])) == ("more" if effect > 0 else "fewer")
    assert len(found) <= 2
    row = calls.row(by_predicate=(pl.col("treatment") == "drug A02") & (pl.col("phenotype") == "mitotic"), named=True)
    assert (row["wells"], row["plates"], row["controls"]) == (4, 4, 32)


def test_a_rare_phenotype_is_found_though_other_cells_move():
    """A few cells in a hundred more are of the phenotype; all others are a little less like it than in controls."""
    rng = np.random.default_rng(0)
    well = np.repeat(WELLS, 300)
    values = rng.uniform(0.05, 0.15, len(well)) - np.where(well == "A02", 0.03, 0)
    values[rng.random(len(well)) < np.where(well == "A02", 0.2, 0.03)] = 0.9
    frame = enrich_plate(well, np.column_stack([values, 1 - values]), NAMES, CONTROLS)
    row = frame.row(by_predicate=(pl.col("Metadata_Well") == "A02") & (pl.col("phenotype") == "mitotic"), named=True)
    assert row["signed_D"] < -0.2
    assert row["excess"] == pytest.approx(0.17 * (0.9 - 0.5), abs=0.025)
    calls = call_treatments(frame.with_columns(Metadata_Plate=pl.lit("P"), treatment="Metadata_Well"))
    assert calls.filter(phenotype="mitotic", called="more")["treatment"].to_list() == ["A02"]


def test_wells_with_too_few_cells_are_left_out_and_the_larger_side_is_thinned():
    rng = np.random.default_rng(0)
    well = np.repeat(["A01", "A02", "A03", "A04"], [100, 200, 50, 300])
    frame = enrich_plate(well, rng.random((650, 1)), ["x"], ["A01", "A02"])
    rows = {row["Metadata_Well"]: row for row in frame.to_dicts()}
    assert set(rows) == {"A01", "A02", "A04"}  # 50 cells are not more than 50
    assert rows["A04"]["cells"] == 300
    assert rows["A04"]["compared"] == 300
    assert rows["A01"]["compared"] == 100
    assert rows["A02"]["compared"] == 100
    whole = enrich_plate(well, rng.random((650, 1)), ["x"], ["A01", "A02"], EnrichmentCallsConfig(matched=False))
    assert whole["compared"].to_list() == [100, 200, 300]


def test_controls_are_drawn_evenly_from_their_wells():
    """One control well is all high and has most cells: drawn evenly it is half of what a treated well meets."""
    well = np.repeat(["A01", "A02", "B01"], [900, 100, 60])
    values = np.where(well == "A01", 1.0, 0.0)[:, None]
    frame = enrich_plate(well, values, ["x"], ["A01", "A02"])
    assert frame.filter(Metadata_Well="B01")["D"][0] == pytest.approx(0.5)


def test_one_control_is_no_null_and_no_cells_are_no_rows():
    rng = np.random.default_rng(0)
    assert enrich_plate(np.repeat(["A01", "A02"], 60), rng.random((120, 1)), ["x"], ["A01"]).is_empty()
    empty = enrich_plate([], np.empty((0, 1)), ["x"], ["A01"])
    assert empty.is_empty()
    none = empty.with_columns(Metadata_Plate=pl.lit("P"), treatment=pl.lit("t"))
    assert call_treatments(none).is_empty()


def test_the_published_top_rows(reference_data):
    """Three replicate wells of the published apoptosis list lead it; treatments named in the paper are in the lists."""
    given = pl.read_csv(reference_data / "phenotypic_profiling/jump_enrichment_top100.tsv.gz", separator="\t")
    assert given.height == 8424
    top = given.filter(Metadata_model_type="final").sort("comparison_metric_value", descending=True)
    apoptosis = top.filter(phenotype="Apoptosis")["treatment"].head(10).to_list()
    assert apoptosis[:4] == ["fludarabine-phosphate"] * 4
    assert {"aminopurvalanol-a", "RPL23A"} <= set(apoptosis)
    elongated = top.filter(phenotype="Elongated")["treatment"].to_list()
    assert {"oxibendazole", "colchicine", "CYT-997"} <= set(elongated)
    assert min(given.group_by("phenotype", "treatment_type").len()["len"]) >= 100
