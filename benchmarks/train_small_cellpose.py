"""Train the small nuclei network that is shipped as `small-nuclei`, with cellpose's own training loop.

    python -m benchmarks.train_small_cellpose --reference PATH [--epochs N]

Data: synthetic nuclei drawn here, and two thirds of dsb2018_nuclei (CC0-1.0). Every third image of its index, from
the third on, is never seen; `benchmarks.segmentation` scores on those. Widths are cut to 12-24-48-96 (cellpose: 32 to
256) and weights stored as float16, so that the file stays under 3 MB.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.dsb2018 import Field, read_fields
from morpho_assets.imaging.segmentation.cellpose_network import SHIPPED

WIDTHS = [2, 12, 24, 48, 96]
DIAMETER = 17.0  # pixels that nuclei are rescaled to, cellpose's own choice for nuclei
SEED = 0


def seen_in_training(fields: list[Field]) -> list[Field]:
    """Two of every three fields."""
    return [field for position, field in enumerate(fields) if position % 3 != 2]


def unseen(fields: list[Field]) -> list[Field]:
    """The other third."""
    return fields[2::3]


def drawn_nuclei(rng: np.random.Generator, size: int = 256) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A field of elliptic nuclei, some touching, uneven in brightness, blurred and noisy; and its labels."""
    row, column = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    light = np.zeros((size, size))
    radius = rng.uniform(6, 16)
    centres = rng.uniform(0, size, (rng.integers(15, 60), 2))
    centres = np.concatenate(
        [centres, centres[: len(centres) // 3] + rng.normal(0, 1.6 * radius, (len(centres) // 3, 2))]
    )
    for number, (y, x) in enumerate(centres, start=1):
        angle, a = rng.uniform(0, np.pi), radius * rng.uniform(0.8, 1.3)
        b = a * rng.uniform(0.55, 1)
        u = (row - y) * np.cos(angle) + (column - x) * np.sin(angle)
        v = (column - x) * np.cos(angle) - (row - y) * np.sin(angle)
        inside = ((u / a) ** 2 + (v / b) ** 2 <= 1) & (labels == 0)
        if inside.sum() < 0.6 * np.pi * a * b:
            continue
        labels[inside] = number
        light[inside] = rng.lognormal(0, 0.5)
    texture = ndimage.gaussian_filter(rng.normal(size=light.shape), rng.uniform(1, 4))
    light *= np.clip(1 + rng.uniform(0, 0.4) * texture / texture.std(), 0.2, None)
    glow = rng.uniform(0, 0.2) * ndimage.gaussian_filter(light, 12)
    image = ndimage.gaussian_filter(light, rng.uniform(0.5, 1.8)) + glow + rng.uniform(0, 0.2)
    image += rng.normal(0, rng.uniform(0.005, 0.06), image.shape)
    return image.astype(np.float32), np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def train(fields: list[Field], epochs: int, images_per_epoch: int, folder: Path) -> Path:
    """Train from scratch and write float16 weights; returns their path."""
    import torch
    from cellpose import resnet_torch, train

    torch.manual_seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  cellpose draws its crops from numpy's global generator
    rng = np.random.default_rng(SEED)
    drawn = [drawn_nuclei(rng) for _ in range(60)]
    images = [field.image for field in fields] + [image for image, _ in drawn]
    labels = [field.labels for field in fields] + [truth for _, truth in drawn]
    network = resnet_torch.CPnet(list(WIDTHS), nout=3, sz=3, diam_mean=DIAMETER)
    path, losses, _ = train.train_seg(
        network,
        train_data=[np.stack([image, np.zeros_like(image)]) for image in images],
        train_labels=labels,
        channels=[1, 2],
        channel_axis=0,
        batch_size=8,
        n_epochs=epochs,
        nimg_per_epoch=images_per_epoch,
        learning_rate=0.003,
        bsize=112,
        save_path=str(folder),
        model_name="small_nuclei",
    )
    print(f"loss of the last epoch {losses[-1]:.4f}", flush=True)
    weights = {name: value.half() for name, value in torch.load(path, weights_only=True).items()}
    torch.save(weights, folder / "small_nuclei.pt")
    return folder / "small_nuclei.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=os.environ.get("MORPHO_REFERENCE_DATA"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--images-per-epoch", type=int, default=80)
    parser.add_argument("--folder", type=Path, default=Path("data/train_small_cellpose"))
    options = parser.parse_args()
    options.folder.joinpath("models").mkdir(parents=True, exist_ok=True)
    fields = seen_in_training(read_fields(options.reference / "dsb2018_nuclei"))
    path = train(fields, options.epochs, options.images_per_epoch, options.folder)
    SHIPPED["small-nuclei"].write_bytes(path.read_bytes())


if __name__ == "__main__":
    main()
