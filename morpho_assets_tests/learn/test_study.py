"""The stages of encoders on small plates: what is embedded, by which fold, with which card, in which memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.neighbors import KNeighborsClassifier

from morpho_assets.errors import InputError
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table
from morpho_assets.learn import windows
from morpho_assets.learn.cards import Card
from morpho_assets.learn.study import embed_plate, train_encoder_of_study
from morpho_assets.profiles.study import read_space, space_features
from morpho_assets_tests.factories import commit_tables, commit_work, make_work, plate, study
from morpho_assets_tests.learn.plates import (
    EMPTY,
    SIDE,
    WELLS,
    embed,
    embedding_work,
    spaces_of,
    study_with,
    train,
    write_plates,
)

PLATES = ("P1", "P2", "P3")
PATCHES = {"kind": "patches", "crop_size": SIDE, "shrink": 1, "entries": 12, "components": 6, "device": "cpu"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def asked(**settings: Any) -> Any:
    return study_with({"net": {**PATCHES, "twin": False, **settings}}, {"net": {"of": "embedding"}})


def card_of(lake: Lake, row: dict[str, Any]) -> Card:
    return Card.model_validate_json(lake.read_bytes(row["path"]))


@pytest.mark.parametrize(("unit", "tiles"), [("tile", [1, 2, 3, 4]), ("site", [0])])
def test_tiles_and_sites_are_embedded_and_become_sites_and_wells(lake, tmp_path, unit, tiles):
    sources = write_plates(tmp_path, lake, PLATES[:2], sites=2)
    size = {"crop_size": 30} if unit == "tile" else {"crop_size": 36}
    by_site = [{"aggregate": {"to": "site", "method": "mean"}}] if unit == "tile" else []
    scale = {"normalize": {"prefixes": ["Embedding_"], "flat": "zero"}}
    spaces = {
        "net": {"of": "embedding", "normalize": scale["normalize"]},
        "sites": {"of": "embedding", "encoder": "net", "steps": [*by_site, scale]},
    }
    of = study_with({"net": {**PATCHES, "twin": False, "unit": unit, **size}}, spaces)
    [row] = train(lake, of, "net", sources).to_dicts()
    assert (row["unit"], row["fold"], row["plates"], row["agreement"]) == (unit, 0, [], None)
    found = embed(lake, of, "net", sources)
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Tile"]
    assert found.select(keys).unique().height == found.height == 2 * 6 * 2 * len(tiles)
    assert sorted(found["Metadata_Tile"].unique()) == tiles
    first = found.filter(Metadata_Tile=tiles[-1]).select("first_row", "first_column").unique()
    assert first.rows() == [(36, 36)] if unit == "tile" else [(0, 0)]
    assert np.isfinite(found["embedding"].list.to_array(row["numbers"]).to_numpy()).all()
    spaces_of(lake, of, sources)
    tables = lake.latest(["feature_space"], [study("s")])
    wells, sites = (read_space(tables, "s", name, "selected") for name in ("net", "sites"))
    assert (wells.height, sites.height) == (2 * 6, 2 * 6 * 2)  # the well without cells has its place
    assert EMPTY in wells["Metadata_Well"]
    assert len(space_features(wells)) == row["numbers"]
    assert "Metadata_Site" in sites.columns
    steps = tables.read("space_steps", "s").filter(number=0)["step"].unique().to_list()
    assert steps == [f"{unit}_embedding"]


def test_cells_are_embedded_as_before(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1])
    of = asked()
    [row] = train(lake, of, "net", sources).to_dicts()
    assert row["unit"] == "cell"
    found = embed(lake, of, "net", sources)
    assert found.height == 5 * 9
    assert found.columns[2:6] == ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"]
    assert EMPTY not in found["Metadata_Well"]


def test_the_card_says_the_unit_and_its_size(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1], micrometres={"P1": 0.5})
    sizes = {
        "cell": ({"crop_size": 24, "shrink": 2}, 1.0, 12.0),
        "tile": ({"unit": "tile", "crop_size": 36}, 0.5, 18.0),
        "site": ({"unit": "site", "crop_size": 18}, 2.0, 36.0),
        "told": ({"pixel_size": 0.25}, 0.25, 6.0),
    }
    for settings, pixel, window in sizes.values():
        [row] = train(lake, asked(**settings), "net", sources).to_dicts()
        inputs = card_of(lake, row).inputs
        assert inputs.unit == row["unit"] == settings.get("unit", "cell")
        assert (inputs.pixel_size, inputs.window_size) == pytest.approx((pixel, window))
        assert (row["pixel_size"], row["window_size"]) == (inputs.pixel_size, inputs.window_size)


def test_where_nobody_says_the_size_the_card_has_none(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1])
    [row] = train(lake, asked(), "net", sources).to_dicts()
    inputs = card_of(lake, row).inputs
    assert inputs.pixel_size is inputs.window_size is row["pixel_size"] is None


def test_plates_of_another_magnification_are_refused(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:2], micrometres={"P1": 0.5, "P2": 0.65})
    with pytest.raises(InputError, match=r"P2.*pixel size.* 0.65 µm; expected 0.5 µm"):
        train(lake, asked(), "net", sources)
    train(lake, asked(), "net", {"P1": sources["P1"]})
    with pytest.raises(InputError, match=r"P2.*pixel size"):
        embed(lake, asked(), "net", sources)
    train(lake, asked(pixel_size=0.5), "net", sources)  # who says it is believed
    assert embed(lake, asked(pixel_size=0.5), "net", sources).height


@pytest.mark.parametrize("settings", [{"unit": "tile", "neighbours": "mask"}, {"unit": "well"}, {"cross_fit": 1}])
def test_settings_that_cannot_be(settings):
    with pytest.raises((ValueError, InputError)):
        asked(**settings)


def test_a_space_takes_the_unit_of_its_encoder():
    of = study_with({"net": {**PATCHES, "unit": "tile"}}, {"net": {"of": "embedding"}})
    assert {name: space.unit for name, space in of.spaces.items()} == {"net": "tile", "net_untrained": "tile"}
    with pytest.raises((ValueError, InputError), match="unit: found cell; expected tile"):
        study_with({"net": {**PATCHES, "unit": "tile"}}, {"net": {"of": "embedding", "unit": "cell"}})
    steps = [{"normalize": {"prefixes": ["Embedding_"]}}]
    with pytest.raises((ValueError, InputError), match="ends with tiles"):
        study_with({"net": {**PATCHES, "unit": "tile"}}, {"net": {"of": "embedding", "steps": steps}})


def test_a_tile_that_does_not_fit_is_told(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1])
    with pytest.raises(InputError, match="72 x 72"):
        train(lake, asked(unit="tile", crop_size=100), "net", sources)


# Cross-fitting


def test_each_plate_is_embedded_by_an_encoder_that_has_not_seen_it(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES)
    of = asked(cross_fit=3)
    rows = train(lake, of, "net", sources).sort("fold").to_dicts()
    assert [row["plates"] for row in rows] == [["P1"], ["P2"], ["P3"]]
    for row in rows:
        assert row["plates"][0] not in {well.split()[0] for well in row["wells"]}
        assert len({well.split()[0] for well in row["wells"]}) == 2
        assert card_of(lake, row).sha256 == row["sha256"]
    assert rows[0]["agreement"] is None
    assert all(row["agreement"] > 0.5 for row in rows[1:])
    found = embed(lake, of, "net", sources)
    assert found.height == 3 * 5 * 9
    labels = (found["Metadata_Well"] == "B01").to_numpy()
    vectors = np.stack(found["embedding"].to_numpy())
    treated = found["Metadata_Well"].is_in(["B01", "B02"]).to_numpy()
    for key in PLATES:  # what one plate's embeddings say is understood on another's
        here = (found["Metadata_Plate"] == key).to_numpy()
        learned = KNeighborsClassifier(5).fit(vectors[treated & ~here], labels[treated & ~here])
        assert learned.score(vectors[treated & here], labels[treated & here]) > 0.7


def test_the_untrained_twin_is_one_network_in_all_folds(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:2])
    rows = train(lake, asked(cross_fit=2, untrained=True), "net", sources).sort("fold").to_dicts()
    cards = [card_of(lake, row) for row in rows]
    assert cards[0].drawn_seed == cards[1].drawn_seed
    assert {well.split()[0] for well in rows[0]["wells"]} == {"P2"}
    assert {well.split()[0] for well in rows[1]["wells"]} == {"P1", "P2"}  # the draw was chosen on P2


def test_one_plate_cannot_be_cross_fitted(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1])
    with pytest.raises(InputError, match="1 plate; expected at least two"):
        train(lake, asked(cross_fit=2), "net", sources)


# Told treatments

NAMES = {"kind": "supervised", "architecture": "small", "size": 24, "crop_size": SIDE, "epochs": 4, "device": "cpu"}


def told(**settings: Any) -> Any:
    return study_with({"net": {**NAMES, **settings}}, {"net": {"of": "embedding"}})


def test_an_encoder_says_how_its_training_went(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:2], sites=2)
    [row] = train(lake, told(epochs=12, learning_rate=3e-3), "net", sources).to_dicts()
    assert row["labels"] == ["DMSO", "drug B01", "drug B02"]
    assert (row["classes"], row["chance"], row["verdict"]) == (3, pytest.approx(1 / 3), "learned")
    assert row["train_top_1"] > row["chance"]
    assert min(row["validation_loss"]) < row["trivial_loss"] == pytest.approx(np.log(3))
    assert embed(lake, told(), "net", sources).height == 2 * 5 * 9 * 2


def test_what_it_must_not_see_it_has_not_seen(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1])
    [row] = train(lake, told(trains_on={"without": ["drug B02"]}), "net", sources).to_dicts()
    assert row["labels"] == ["DMSO", "drug B01"]
    assert not [well for well in row["wells"] if well.endswith("B02")]
    with pytest.raises(InputError, match=r"trains_on\.without: found drug X; expected treatments of its plates"):
        train(lake, told(trains_on={"without": ["drug X"]}), "net", sources)


def test_nothing_is_learned_from_sites_that_a_person_rejected(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:1])
    wells = lake.latest(["well_profiles"], [plate("P1")])
    place = {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": 1, "rejected_by": "Ann: dust"}
    rejected = table("rejected_sites").cast(pl.DataFrame([place]))
    profiles = {name: wells.read(name, "P1") for name in ("well_profiles", "normalized_profiles")}
    commit_tables(lake, "well_profiles", plate("P1"), {**profiles, "rejected_sites": rejected})
    [row] = train(lake, asked(), "net", sources).to_dicts()
    assert [well.split()[1] for well in row["wells"]] == ["A02", "A03", "B01", "B02"]
    assert embed(lake, asked(), "net", sources)["Metadata_Well"].n_unique() == 5  # it has an embedding all the same


def test_a_killed_training_goes_on_and_ends_the_same(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:2])
    whole = train(lake, told(), "net", sources)["sha256"].item()
    other = Lake(str(tmp_path / "other"))
    write_plates(tmp_path, other, PLATES[:2])
    epochs: list[int] = []

    def killed(label: str, epoch: int, total: int) -> None:
        epochs.append(epoch)
        if len(epochs) == 3:
            raise KeyboardInterrupt

    def attempt() -> Any:
        work = make_work(other, "encoder", study("s", "net"), told().encoders["net"], source=sources)
        work.progress = killed
        train_encoder_of_study(work)
        return work

    with pytest.raises(KeyboardInterrupt):
        attempt()
    work = attempt()
    assert epochs == [1, 2, 3, 3, 4]  # the third was not yet put aside
    commit_work(work)
    assert other.latest(["encoder"], [study("s", "net")]).read("encoders", "s")["sha256"].item() == whole
    work.clear()
    assert work.kept("0.training") is None


def test_a_study_has_a_space_of_each_twin():
    started = {**NAMES, "architecture": "lite0", "size": 32}
    of = study_with({"net": started, "own": NAMES}, {"net": {"of": "embedding"}, "own": {"of": "embedding"}})
    expected = {"net", "net_untrained", "net_started", "own", "own_untrained"}
    assert set(of.encoders) == set(of.spaces) == expected
    assert of.encoders["net_started"].epochs == 0
    assert not of.encoders["net_started"].uses_labels


# Memory


def test_embedding_and_fitting_stream(lake, tmp_path, monkeypatch):
    """Eight times the sites take no more memory; nor do more windows of one site than are taken at once."""
    monkeypatch.setattr(windows, "AT_ONCE", 16)
    monkeypatch.setattr(windows, "CROPS_FOR_SCALING", 20)
    few, many = write_plates(tmp_path, lake, ["few"], sites=2), write_plates(tmp_path, lake, ["many"], sites=16)
    of = asked(max_cells=30, components=4)
    peaks = []
    for sources in (few, few, many):  # the first also loads what is loaded once
        tracemalloc.start()
        work = make_work(lake, "encoder", study(of.name, "net"), of.encoders["net"], source=sources)
        train_encoder_of_study(work)
        fitting = tracemalloc.get_traced_memory()[1]
        train(lake, of, "net", sources)
        tracemalloc.reset_peak()
        [key] = sources
        embed_plate(embedding_work(lake, of, "net", key, sources[key]))
        peaks.append((fitting, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    windows_of_all = 16 * 5 * 9 * 2 * SIDE**2 * 4
    assert peaks[2][0] - peaks[1][0] < windows_of_all / 4
    assert peaks[2][1] - peaks[1][1] < windows_of_all / 4


def test_windows_come_in_parts_and_none_is_lost(lake, tmp_path, monkeypatch):
    sources = write_plates(tmp_path, lake, PLATES[:1], sites=2)
    config = asked().encoders["net"]
    inputs = make_work(lake, "encoder", study("s", "net")).inputs
    plate = windows.PlateWindows.of(inputs, sources["P1"].store(), "P1", config)
    whole = list(plate.stream(plate.rows()))
    monkeypatch.setattr(windows, "AT_ONCE", 4)
    parts = list(plate.stream(plate.rows()))
    assert max(len(cells) for _, cells in parts) <= 2 * 4
    assert pl.concat([keys for keys, _ in parts]).equals(pl.concat([keys for keys, _ in whole]))
    crops = [np.concatenate([cells.crops for _, cells in each]) for each in (parts, whole)]
    np.testing.assert_array_equal(*crops)
    assert len(crops[0]) == 2 * 5 * 9


def test_more_wells_than_windows_are_wanted_are_drawn_from():
    rows = pl.DataFrame(
        {"Metadata_Plate": "P", "Metadata_Well": [f"W{i // 3}" for i in range(300)], "number": range(300)}
    )
    found = windows.drawn(rows, 40, seed=0)
    assert found.height == found["Metadata_Well"].n_unique() == 40
    assert (
        windows.drawn(rows.reverse(), 40, seed=0)["Metadata_Well"]
        .unique()
        .sort()
        .equals(found["Metadata_Well"].unique().sort())
    )
    of_two_plates = pl.concat([rows.select("Metadata_Plate", "Metadata_Well").unique()] * 2).with_columns(
        Metadata_Plate=pl.Series(["P"] * 100 + ["Q"] * 100)
    )
    assert windows.drawn(rows, 400, 0, of_two_plates).height == 200  # two of each well
    assert windows.drawn(rows.clear(), 40, 0).is_empty()


def test_wells_give_evenly(lake, tmp_path):
    sources = write_plates(tmp_path, lake, PLATES[:2], sites=2)
    [row] = train(lake, asked(max_cells=40), "net", sources).to_dicts()
    assert row["cells"] == 40  # four of each of ten wells
    assert len(row["wells"]) == 10
    assert {well.split()[1] for well in row["wells"]} == set(WELLS) - {EMPTY}
