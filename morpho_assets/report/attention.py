"""The chapter "Where encoders look": heat maps beside the cells that they are of, and what they say in numbers."""

from __future__ import annotations

import base64
import io

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.learn.kinds import UNTRAINED
from morpho_assets.report.figures.fields import cell_strips, stain_colours
from morpho_assets.report.page import Picture, Section, frame_table, number

MOST = 8
"""Treatments that are shown; the table `attributions` has all that were kept."""
SIDE = 128
"""Largest side of a shown window, px."""
HOT = (1.0, 0.85, 0.1)


def attention_sections(rows: pl.DataFrame, metrics: pl.DataFrame) -> list[Section]:
    """The chapter from the rows of `attributions` and of `metrics`; none where nothing was asked."""
    if not rows.height:
        return []
    pictures = []
    for (name, method), of in rows.group_by("attribution", "method", maintain_order=True):
        shown = of.drop_nulls("heat")
        if not shown.height:
            continue
        encoders = of["encoder"].unique(maintain_order=True).to_list()
        treatments = shown["treatment"].unique(maintain_order=True).head(MOST).to_list()
        strips = [_strip(shown.filter(treatment=treatment), encoders) for treatment in treatments]
        words = ", then the same by ".join(encoders)
        score = "its own class score" if of["by_head"][0] else "likeness to the mean embedding of the class"
        caption = (
            f"{name}, {method}: a window, its heat by {words}; what is explained is {score}"
            + (" (of the twin likeness, for it has no names)" if of["by_head"].n_unique() > 1 else "")
            + f". From top to bottom: {', '.join(treatments)}."
        )
        pictures.append(Picture(cell_strips(strips), caption, wide=True))
    scores = metrics.filter(pl.col("evaluator").str.starts_with("attributions "))
    columns = ["variant", "evaluator", "metric", "value", "chance", "ci_low", "ci_high", "p_value", "n"]
    overall = scores.filter(pl.col("scope") == "overall").select(columns)
    against = scores.filter(pl.col("scope").str.starts_with("against ")).select("scope", *columns)
    tables = [
        frame_table(overall, "Where encoders look, mean over treatments"),
        frame_table(against, "The same less what the untrained twin gives, by treatment"),
    ]
    caption = (
        "Heat is where the score of a class comes from. `density_nucleus` is the share of it that lies in the nucleus, "
        "over the share of the window that is nucleus: 1 is chance. Read each number against the untrained network's: "
        "a network that learned nothing looks at bright cells too."
    )
    return [Section("Where encoders look", caption, pictures, tables, _answer(scores))]


def _answer(scores: pl.DataFrame) -> str:
    """The first encoder's density in the nucleus beside its twin's."""
    found = scores.filter(pl.col("scope") == "overall", pl.col("metric") == "density_nucleus")
    own = found.filter(~pl.col("variant").str.ends_with(UNTRAINED))
    if not own.height:
        return ""
    row = own.row(0, named=True)
    twin = found.filter(pl.col("variant") == f"{row['variant']}{UNTRAINED}", evaluator=row["evaluator"])
    beside = f", {number(twin['value'][0])} of its untrained twin" if twin.height else ""
    if row["value"] is None:
        return ""
    return (
        f"{row['variant']} has {number(row['value'])} times as much heat in nuclei as their area would have by chance"
        f"{beside} ({row['evaluator'].removeprefix('attributions ')})."
    )


def _strip(rows: pl.DataFrame, encoders: list[str]) -> list[NDArray[np.float32]]:
    """Windows of a treatment, each followed by its heat by each encoder."""
    strip = []
    keys = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "number"]
    for _, of in rows.group_by(keys, maintain_order=True):
        first = of.row(0, named=True)
        planes = _grey(first["window"])
        stains = np.stack(np.split(planes, len(first["channels"]), axis=1))
        dark = np.ones((*stains.shape[1:], 3), np.float32)
        for stain, colour in zip(stains, stain_colours(first["channels"]), strict=True):
            dark *= 1 - 0.8 * stain[..., None] * np.asarray(colour, np.float32)
        strip.append(_shrunk(1 - dark))
        grey = stains.mean(axis=0)[..., None] * np.ones(3, np.float32)
        for encoder in encoders:
            mine = of.filter(encoder=encoder)
            heat = _grey(mine["heat"][0])[..., None] if mine.height else np.zeros_like(grey[..., :1])
            strip.append(_shrunk(np.clip(grey * (1 - 0.8 * heat) + 0.8 * heat * np.asarray(HOT, np.float32), 0, 1)))
    return strip


def _grey(picture: str) -> NDArray[np.float32]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"), np.float32) / 255


def _shrunk(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture (s, s, 3), every so many pixels of one that is larger than SIDE."""
    step = -(-picture.shape[0] // SIDE)
    return picture[::step, ::step]
