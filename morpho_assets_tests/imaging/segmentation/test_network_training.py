"""The scripts that train, ship and score the network, on a few fields and steps."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ship_network, train_network
from benchmarks.dsb2018 import Field
from benchmarks.network_data import Prepared, held_out, prepared_nuclei, split, third_of, touching
from benchmarks.network_scores import gain, parted, scores_of
from morpho_assets.imaging.overlap import overlap
from morpho_assets.imaging.segmentation.network_input import levels_of
from morpho_assets.imaging.segmentation.unet import load_unet


def some_field(seed: int = 0) -> Prepared:
    prepared = prepared_nuclei(*touching(np.random.default_rng(seed)))
    assert prepared is not None
    return prepared


def test_a_third_is_never_seen_and_chosen_by_the_id_alone() -> None:
    empty = np.zeros((2, 2), np.int32)
    fields = [Field(f"{number:016x}", empty.astype(np.float32), empty) for number in range(300)]
    parts = split(fields)
    names = [{field.name for field in part} for part in parts]
    assert sum(map(len, names)) == 300 == len(set.union(*names))
    assert {third_of(name) for name in names[1]} == {2}
    assert {third_of(name) for name in names[0]} == {0, 1}
    assert 80 < len(names[1]) < 120
    aside = [{name for name in names[0] if held_out(name, member)} for member in range(6)]
    assert set.union(*aside) == names[0]
    assert sum(map(len, aside)) == len(names[0])
    assert all(20 < len(part) < 50 for part in aside)
    assert not held_out("", 0)  # what is made has no name, and every member sees it
    assert [{field.name for field in part} for part in split(fields[::-1])] == names


def test_offsets_of_a_crop_lead_to_the_middle_of_what_is_seen_of_each_object() -> None:
    field = some_field()
    crop = train_network.draw_crop(np.random.default_rng(1), field, "nuclei")
    assert crop.planes.shape == (2, train_network.SIDE, train_network.SIDE)
    np.testing.assert_array_equal(crop.planes, np.round(crop.planes))
    rows, columns = np.nonzero(crop.inside)
    assert rows.size > 500
    led = np.stack([rows, columns]) + crop.offset[:, rows, columns] * train_network.REACH
    # Pixels of one object lead to one place: far fewer places than pixels, each inside the crop.
    places = np.unique(np.round(led, 2), axis=1)
    assert places.shape[1] < rows.size / 50
    assert places.min() >= 0
    assert places.max() <= train_network.SIDE
    assert (crop.offset_weight[crop.inside == 0] == 0).all()


def test_training_goes_on_where_it_was_stopped_and_what_is_shipped_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(train_network.WIDTHS, "nuclei", (4, 6))
    monkeypatch.setitem(train_network.SHARES, "nuclei", (1.0,))
    monkeypatch.setattr(train_network, "BATCH", 2)
    data = [[some_field(seed) for seed in (0, 1)]]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    (whole / "fields.pickle").write_bytes(pickle.dumps({"nuclei": data}))
    states = []
    for folder, stops in ((whole, (4,)), (parts, (2, 4))):
        folder.mkdir(exist_ok=True)
        for stop in stops:
            path = train_network.train("nuclei", data, 4, folder, stop)
        states.append(torch.load(path, weights_only=True))
    assert states[0]["step"] == states[1]["step"] == 4
    for name, value in states[0]["averaged"].items():
        torch.testing.assert_close(value, states[1]["averaged"][name], rtol=1e-4, atol=1e-6)

    network = train_network.UNet(2, (4, 6)).eval()
    network.load_state_dict(states[0]["averaged"])
    planes = levels_of(data[0][0].planes[0])
    monkeypatch.setattr(ship_network, "CALIBRATION", 4)
    train_network.train("nuclei", data, 2, whole, member=1)
    members, steps = ship_network.trained(whole, "nuclei")
    assert (len(members), steps) == (2, 2)
    assert not np.array_equal(members[0]["head.shift"], members[1]["head.shift"])
    (whole / "nuclei-3.pt").touch()  # the third is not there: no network of fewer members is made unsaid
    with pytest.raises(SystemExit, match=r"nuclei-2\.pt is not there: train it first, .* --member 2"):
        ship_network.trained(whole, "nuclei")
    file = tmp_path / "shipped.safetensors"
    ship_network.write(file, members[:1], "nuclei", (4, 6), 4)
    once = file.read_bytes()
    ship_network.write(file, members[:1], "nuclei", (4, 6), 4)
    assert file.read_bytes() == once
    with torch.no_grad():
        expected = network(torch.from_numpy(planes[None]) / 255)[0].numpy()
    found = load_unet(file).maps(planes)
    assert np.corrcoef(expected[0].ravel(), found[0].ravel())[0, 1] > 0.99
    assert expected[0].std() > 0


def test_splits_merges_and_the_paired_gain_by_hand() -> None:
    truth = np.zeros((10, 30), np.int32)
    truth[1:9, 1:9], truth[1:9, 11:19], truth[1:9, 19:27] = 1, 2, 3
    found = np.zeros_like(truth)
    found[1:9, 1:5], found[1:9, 5:9], found[1:9, 11:27] = 1, 2, 3
    assert parted(overlap(truth, found)) == (1, 1)
    assert parted(overlap(truth, truth)) == (0, 0)
    scores = scores_of([(truth, truth), (truth, found)], 1.5)
    np.testing.assert_allclose(scores.splits, [0, 1 / 3])
    np.testing.assert_allclose(scores.merges, [0, 1 / 3])
    np.testing.assert_allclose(scores.count_error, [0, 0])
    mean, low, high = gain(np.array([0.5, 0.7, 0.9, 0.6]), np.array([0.4, 0.6, 0.8, 0.5]))
    assert mean == pytest.approx(0.1)
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
    assert gain(np.array([1.0, 0.0] * 20), np.full(40, 0.5))[1] < 0
