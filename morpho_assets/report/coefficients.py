"""What a linear model looks at: its coefficients as a heat map, features and classes that go together side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morpho_assets.lake.lake import Snapshot
from morpho_assets.predict.models import load_model
from morpho_assets.report.page import Picture
from morpho_assets.report.pictures import FAINT, STYLE, chart_bytes

MOST_FEATURES = 40
"""Of which coefficients are drawn: those of the greatest coefficients."""


def coefficient_pictures(inputs: Snapshot, model: dict[str, object]) -> list[Picture]:
    """The heat map of a row of `models`; none for a model that is not linear."""
    read = inputs.lake.read_bytes
    fitted = load_model(read(str(model["path"])), read(str(model["weights"])), str(model["path"]))
    weights = fitted.coefficients()
    if weights is None:
        return []
    image = coefficient_heatmap(weights, fitted.card.classes, fitted.card.features, f"{model['model']}: coefficients")
    shown = min(MOST_FEATURES, len(fitted.card.features))
    text = (
        f"By how much the logit of each class rises with one standard deviation of a feature: the {shown} of "
        f"{len(fitted.card.features)} features with the greatest coefficients. Features and classes are in the order "
        "of their trees. Of features that tell the same a model takes some: a small coefficient proves nothing."
    )
    return [Picture(image, text, "chart", wide=True)]


def coefficient_heatmap(
    weights: NDArray[np.floating], classes: Sequence[str], features: Sequence[str], title: str = ""
) -> bytes:
    """(k, d) coefficients as a heat map, WebP: the features of the greatest (MOST_FEATURES) across, classes down, both
    in the order of average-linkage trees; red more, blue less. Names are shortened."""
    import matplotlib
    from matplotlib.figure import Figure

    given = np.nan_to_num(np.asarray(weights, float))
    chosen = np.sort(np.argsort(-np.abs(given).max(axis=0, initial=0), kind="stable")[:MOST_FEATURES])
    shown = given[:, chosen]
    down, across = _order(shown), _order(shown.T)
    with matplotlib.rc_context(STYLE):
        height = 1.9 + 0.24 * max(2, len(classes))
        figure = Figure(figsize=(9, height), layout="constrained", facecolor="white")
        if not shown.size or not np.abs(shown).max():
            figure.text(0.5, 0.5, f"{title}: none is different from 0".lstrip(": "), ha="center", color=FAINT)
            return chart_bytes(figure)
        axes = figure.add_subplot()
        reach = float(np.abs(shown).max())
        drawn = axes.imshow(shown[np.ix_(down, across)], cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto",
                            interpolation="nearest")  # fmt: skip
        axes.set_yticks(range(len(down)), [classes[i] for i in down])
        axes.set_xticks(range(len(across)), [_short(features[chosen[i]]) for i in across], rotation=90, fontsize=6)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.01)
        bar.outline.set_visible(False)
        bar.set_label("logit per standard deviation")
        return chart_bytes(figure)


def _order(rows: NDArray[np.float64]) -> list[int]:
    from scipy.cluster.hierarchy import leaves_list, linkage

    return list(range(len(rows))) if len(rows) < 3 else leaves_list(linkage(rows, "average")).tolist()


def _short(name: str, longest: int = 36) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[-longest // 2 :]}"
