"""A user's weights, made here: every architecture, way of channels and kind of file; and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.encoders import Trained, fit_encoder, load_encoder, save_encoder
from morpho_assets.learn.networks.lite0 import Lite0
from morpho_assets.learn.networks.resnet import ResNet
from morpho_assets.learn.networks.vit import ViT
from morpho_assets.learn.weights import FileConfig, read_weights

NETWORKS = {
    "vit_s16": (lambda planes: ViT(planes, 2, "cls"), 384),
    "resnet18": (lambda planes: ResNet("resnet18", planes), 512),
    "resnet50": (lambda planes: ResNet("resnet50", planes), 2048),
    "lite0": (lambda planes: Lite0(3), 144),
}
PLANES = {"bag": 1, "replicate": 3, "stack": 2}


def network(architecture: str, planes: int) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return NETWORKS[architecture][0](planes).eval()


def config(path: Path, **settings: object) -> FileConfig:
    plain = {"crop_size": 32, "size": 32, "scaling": "training", "components": None, "device": "cpu", "block": 3}
    return FileConfig.model_validate({"path": str(path), **plain, **settings})


def cells(n: int = 6) -> Cells:
    crops = np.random.default_rng(0).random((n, 2, 32, 32), dtype=np.float32)
    return Cells(crops, ("DNA", "ER"))


def fitted(path: Path, **settings: object) -> Trained:
    return fit_encoder(config(path, **settings), cells())


@pytest.mark.parametrize("architecture", NETWORKS)
def test_every_architecture_gives_what_its_network_gives(architecture, tmp_path):
    path, net = tmp_path / "weights.safetensors", network(architecture, 3)
    save_file(net.state_dict(), path)
    encoder = fitted(path, architecture=architecture, percentiles=(0, 100), mean=(0.5,), sd=(0.5,))
    numbers = NETWORKS[architecture][1]
    assert encoder.card.numbers == 2 * numbers
    low, high = (np.asarray(each, np.float32)[:, None, None] for each in
                 (encoder.card.inputs.low, encoder.card.inputs.high))  # fmt: skip
    scaled = torch.from_numpy(np.clip((cells().crops - low) / (high - low), 0, 1))
    with torch.no_grad():
        second = net(2 * scaled[:, 1:].expand(-1, 3, -1, -1) - 1)
    found = encoder.encode(cells())[:, numbers:]
    np.testing.assert_allclose(found, second, atol=1e-3 * float(second.abs().max()))
    assert load_encoder(*save_encoder(encoder)).encode(cells()[:2]).shape == (2, 2 * numbers)


@pytest.mark.parametrize(("way", "numbers"), [("bag", 1024), ("replicate", 1024), ("stack", 512)])
def test_channels_alone_or_together(way, numbers, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(network("resnet18", PLANES[way]).state_dict(), path)
    settings = {"architecture": "resnet18", "as_images": way, "mean": (0.5,), "sd": (0.2,)}
    assert fitted(path, **settings).card.numbers == numbers
    twin = fitted(path, **settings, untrained=True)
    assert twin.card.licence == "none: weights drawn at random"
    other = next(each for each in PLANES if each != way)
    with pytest.raises(InputError, match=f"a network of {PLANES[way]} channels; expected {other} of 2 channels"):
        fitted(path, **{**settings, "as_images": other})


@pytest.mark.parametrize("nested", ["state_dict", "teacher", None])
def test_what_training_programs_put_around_the_names_is_taken_off(nested, tmp_path):
    path, net = tmp_path / "weights.pth", network("vit_s16", 3)
    weights = {f"module.backbone.{name}": array for name, array in net.state_dict().items()}
    weights["module.head.mlp.0.weight"] = torch.zeros(3)  # of a part that the encoder does not have
    torch.save({nested: weights, "epoch": 3} if nested else weights, path)
    encoder = fitted(path, architecture="vit_s16", licence="CC-BY-NC-4.0", pooling="mean")
    assert encoder.card.licence == "CC-BY-NC-4.0"
    np.testing.assert_array_equal(encoder.weights["cls_token"], net.state_dict()["cls_token"].numpy())


class _Command:
    """What a hostile file would carry: unpickling it runs a command."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_files_that_do_not_fit_are_named(tmp_path, capsys):
    with pytest.raises(InputError, match="no such file"):
        read_weights(str(tmp_path / "absent.pt"))
    for name, content in {"text.pt": b"weights", "text.safetensors": b"weights"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            read_weights(str(tmp_path / name))
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(InputError, match="no tensors in it"):
        read_weights(str(tmp_path / "none.pt"))
    torch.save(_Command(), tmp_path / "hostile.pt")
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(str(tmp_path / "hostile.pt"))
    assert "must not run" not in capsys.readouterr().out


def test_weights_of_another_network_are_named(tmp_path):
    path = tmp_path / "weights.pt"
    weights = network("resnet18", 3).state_dict()
    torch.save(weights, path)
    with pytest.raises(InputError, match=r"no patch_embed.proj.weight; it has .*expected weights of vit_s16"):
        fitted(path, architecture="vit_s16")
    with pytest.raises(InputError, match=r"no layer1.0.conv3.weight \(and 164 others\)"):
        fitted(path, architecture="resnet50")
    torch.save({**weights, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, tmp_path / "narrow.pt")
    with pytest.raises(InputError, match=r"layer1.0.conv1.weight: found shape \(64, 64, 1, 1\)"):
        fitted(tmp_path / "narrow.pt", architecture="resnet18")
    torch.save({name: array for name, array in weights.items() if "layer4.1" not in name}, path)
    with pytest.raises(InputError, match=r"found no layer4.1.conv1.weight"):
        fitted(path, architecture="resnet18")


def test_numbers_of_the_wrong_count_are_named(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(network("resnet18", 2).state_dict(), path)
    with pytest.raises(InputError, match="mean: found 3 numbers; expected 1 or 2"):
        fitted(path, architecture="resnet18", as_images="stack")
