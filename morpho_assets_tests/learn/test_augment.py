"""Augmentation: each window by itself, within the bounds asked for, the same again from the same seed."""

from __future__ import annotations

import pytest
import torch

from morpho_assets.learn.augment import augmented
from morpho_assets.learn.config import AugmentConfig


def images(n: int = 32) -> torch.Tensor:
    return torch.rand((n, 3, 8, 8), generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2


def change(config: AugmentConfig, seed: int = 0, of: torch.Tensor | None = None) -> torch.Tensor:
    return augmented(images() if of is None else of, config, torch.Generator().manual_seed(seed))


def test_nothing_asked_changes_nothing():
    assert torch.equal(change(AugmentConfig(turns=False)), images())


def test_the_same_seed_gives_the_same():
    config = AugmentConfig(gamma=0.2, shift=0.1)
    assert torch.equal(change(config), change(config))
    assert not torch.equal(change(config), change(config, seed=1))


def test_turns_are_the_eight_of_the_square_and_differ_within_a_batch():
    eight = [torch.rot90(image, turn, (2, 3)) for image in (images(), images().flip(3)) for turn in range(4)]
    found = change(AugmentConfig())
    which = [next(k for k, turned in enumerate(eight) if torch.equal(turned[row], found[row])) for row in range(32)]
    assert set(which) == set(range(8))


@pytest.mark.parametrize(("gamma", "shift"), [(0.5, 0.0), (0.0, 0.2)])
def test_brightness_moves_per_channel_within_its_bounds(gamma, shift):
    before, after = images(), change(AugmentConfig(turns=False, gamma=gamma, shift=shift))
    if shift:
        moved = (after - before).amax(dim=(2, 3))
        torch.testing.assert_close(moved, (after - before).amin(dim=(2, 3)), atol=1e-6, rtol=0)  # one number each
    else:
        bright = before > 0.05
        bright &= (before - 1).abs() > 0.05
        power = torch.where(bright, after.clamp(min=1e-9).log() / before.clamp(min=1e-9).log(), torch.nan)
        moved = power.nanmean(dim=(2, 3)).log()
        assert torch.equal(after[before <= 0], before[before <= 0])
        shift = torch.tensor(1.5).log()
    assert moved.abs().max() <= shift + 1e-4
    assert moved.std() > 0.3 * shift  # and is used
    assert (moved.std(dim=1) > 0).all()  # channels move apart


def test_no_images_give_none():
    assert change(AugmentConfig(gamma=0.1, shift=0.1), of=images(0)).shape == (0, 3, 8, 8)


def test_it_can_be_differentiated_where_pixels_are_zero():
    dark = torch.zeros((2, 1, 4, 4), requires_grad=True)
    change(AugmentConfig(gamma=0.5), of=dark).sum().backward()
    assert torch.isfinite(dark.grad).all()
