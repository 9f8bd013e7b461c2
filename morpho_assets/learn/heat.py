"""Heat maps: which pixels of a window a class score comes from, by methods of captum (Kokhlikyan and others,
arXiv 2009.07896).

- `grad_cam`: the maps of a layer, each weighted by the mean gradient of the score by it, summed, what is below 0 left
  out, enlarged to the window (Selvaraju and others 2017, 10.1109/ICCV.2017.74). Of a likeness, whose 0 is where the
  mean cell lies, what is below the window's mean is left out.
- `integrated_gradients`: of each pixel the gradient times the pixel, averaged on the way from a dark window (0 in every
  channel) to the window, absolute, summed over channels (Sundararajan and others, arXiv 1703.01365).
- `occlusion`: how much the score falls where a square of the window is dark in every channel, rises left out (Zeiler
  and Fergus, arXiv 1311.2901). It needs no gradient, so that every encoder can be asked.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from morpho_assets.errors import InputError
from morpho_assets.learn.cells import Cells
from morpho_assets.learn.classifier import BIAS, HEAD
from morpho_assets.learn.encoders import SHIFT, TURN, Trained, reduction
from morpho_assets.learn.kinds import kind_of

if TYPE_CHECKING:
    import torch

Method = Literal["grad_cam", "integrated_gradients", "occlusion"]
AT_ONCE = 16
"""Windows of which the maps are taken at once."""
STEPS = 24
"""Between the dark window and the window."""
SQUARES = 8
"""Sides of occluding squares along the side of a window; they move by half of one."""


def scored_by(trained: Trained, means: NDArray[np.float32], device: torch.device) -> tuple[Any, bool]:
    """A module that scores crops for classes, and whether that is by the encoder's own head: of a classifier the
    logits of `card.classes`, of any other the cosine similarity to these mean embeddings (k, d)."""
    from morpho_assets.learn.networks.scored import Alike, Named, Outside

    card, weights = trained.card, trained.weights
    make = getattr(kind_of(card.config), "network", None)
    if make is None:
        channels = card.inputs.channels
        network: Any = Outside(lambda crops, own: trained.forward(Cells(crops, channels, own)))
    else:
        own = {name: array for name, array in weights.items() if not name.startswith(("components.", "alignment."))}
        network = make(card.config, own, len(card.inputs.channels), device)
    if card.classes and HEAD in weights and len(weights[HEAD]) == len(card.classes):
        head = (np.asarray(weights[name], np.float32) for name in (HEAD, BIAS))
        return Named(network, *head).to(device), True
    steps = [(matrix, -shift @ matrix) for shift, matrix in reduction(weights)]
    if TURN in weights:
        turn, shift = (np.asarray(weights[name], np.float32) for name in (TURN, SHIFT))
        steps.append((turn, shift))
    return Alike(network, means, steps).to(device), False


def scores(
    scored: Any, crops: NDArray[np.float32], own: NDArray[np.bool_] | None, device: torch.device
) -> NDArray[np.float32]:
    """(n, k) class scores of scaled crops."""
    import torch

    with torch.inference_mode():
        found = [scored(*_tensors(crops, own, rows, device)).cpu().numpy() for rows in _parts(len(crops))]
    return np.concatenate(found)


def heat_maps(
    scored: Any, crops: NDArray[np.float32], own: NDArray[np.bool_] | None, classes: NDArray[np.int64], method: Method,
    layer: str | None, device: torch.device,
) -> NDArray[np.float32]:  # fmt: skip
    """(n, S, S) in [0, 1], the largest value of each map 1; a map that is 0 all over stays so.

    `crops` (n, C, S, S) scaled, `classes` (n,) the class whose score is explained. `layer` is of Grad-CAM: a module of
    the network by its name, None for the last that gives maps. InputError for a layer that is not there or gives no
    maps, and for a method by gradients of an encoder that has none.
    """
    from morpho_assets.learn.networks.scored import Outside

    if method != "occlusion" and isinstance(scored.network, Outside):
        raise InputError("attributions", "methods", method, "occlusion: this encoder has no gradients",
                         "Ask for occlusion.")  # fmt: skip
    of = _layer(scored, layer, _tensors(crops[:1], own, slice(0, 1), device)) if method == "grad_cam" else None
    parts = [
        _maps(scored, *_tensors(crops, own, rows, device), classes[rows], method, of) for rows in _parts(len(crops))
    ]
    maps = np.concatenate(parts) if parts else np.empty((0, *crops.shape[2:]), np.float32)
    largest = maps.max(axis=(1, 2), initial=0, keepdims=True)
    return np.asarray(maps / np.where(largest > 0, largest, 1), np.float32)


def _maps(
    scored: Any, crops: torch.Tensor, own: torch.Tensor | None, classes: NDArray[np.int64], method: Method, layer: Any
) -> NDArray[np.float32]:
    import torch
    from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
    from torch.nn import functional

    from morpho_assets.learn.networks.scored import Alike

    n, channels, side, _ = crops.shape
    target, beside = torch.from_numpy(classes).to(crops.device), None if own is None else (own,)
    if method == "grad_cam":
        cam = LayerGradCam(scored, layer).attribute(crops, target, beside).detach()
        cam = cam.reshape(n, -1, *cam.shape[2:]).sum(dim=1, keepdim=True)  # of a bag over channels
        if isinstance(scored, Alike):
            cam = cam - cam.mean(dim=(2, 3), keepdim=True)
        cam = functional.relu(cam)
        found = functional.interpolate(cam, size=(side, side), mode="bilinear")[:, 0]
    elif method == "integrated_gradients":
        ways = IntegratedGradients(scored).attribute(
            crops, target=target, additional_forward_args=beside, n_steps=STEPS, internal_batch_size=8 * AT_ONCE
        )
        found = ways.detach().abs().sum(dim=1)
    else:
        square = max(1, side // SQUARES)
        with torch.no_grad():
            falls = Occlusion(scored).attribute(
                crops, (channels, square, square), (channels, max(1, square // 2), max(1, square // 2)), target=target,
                additional_forward_args=beside,
            )  # fmt: skip
        found = functional.relu(falls[:, 0])
    return np.asarray(found.cpu().numpy(), np.float32)


def _layer(scored: Any, name: str | None, given: tuple[torch.Tensor, torch.Tensor | None]) -> Any:
    """The module of the network with this name; None: the last to give maps, of more than one pixel."""
    modules = dict(scored.network.named_modules())
    last: list[str] = []

    def noting(of: str) -> Any:
        def note(_module: Any, _given: Any, found: Any) -> None:
            if getattr(found, "ndim", 0) == 4 and found.shape[-1] > 1 and of:
                last.append(of)

        return note

    hooks = [module.register_forward_hook(noting(of)) for of, module in modules.items()]
    import torch

    with torch.no_grad():
        scored(*given)
    for hook in hooks:
        hook.remove()
    known = list(dict.fromkeys(last))
    if name is None and known:
        return modules[last[-1]]
    if name not in known:
        near = get_close_matches(name or "", known, 1)
        do = f"Did you mean {near[0]}?" if near else "Ask for integrated_gradients or occlusion."
        expected = f"a layer that gives maps: {', '.join(known[-5:]) or 'none'}"
        raise InputError("attributions", "layer", str(name), expected, do)
    if last.count(name or "") > 1:
        do = "Ask for integrated_gradients or occlusion."
        raise InputError("attributions", "layer", f"{name}, which sees every window several times", "a layer that sees "
                         "it once: this encoder turns windows", do)  # fmt: skip
    return modules[name or ""]


def _parts(n: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, n, AT_ONCE)]


def _tensors(
    crops: NDArray[np.float32], own: NDArray[np.bool_] | None, rows: slice, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    import torch

    pixels = None if own is None else torch.from_numpy(own[rows]).to(device)
    return torch.from_numpy(np.ascontiguousarray(crops[rows])).to(device), pixels
