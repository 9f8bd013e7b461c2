"""The chapter "Learned embeddings": how the encoders were trained, and what learning added to drawn weights."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from morpho_assets.learn.kinds import STARTED, UNTRAINED
from morpho_assets.profiles.space import EmbeddingSpace
from morpho_assets.profiles.study import space_steps, variant_name
from morpho_assets.report.figures import loss_curve
from morpho_assets.report.page import Picture, Section, frame_table, number
from morpho_assets.report.pictures import photo_bytes
from morpho_assets.report.results import Results

LEARNED = "mAP"
"""The score by which the report says what learning added."""
_UNITS = {"group": "fifth well, plate or treatment, whole", "cell": "fifth cell", "none": "none"}


def encoder_sections(results: Results) -> list[Section]:
    """The chapter on the study's encoders; none where it has none."""
    if not results.encoders.height:
        return []
    pictures = [
        Picture(
            loss_curve(row["train_loss"], row["validation_loss"]),
            f"Loss of {row['encoder']}; held out to validate: each {_UNITS[row['split']]}.",
        )
        for row in results.encoders.iter_rows(named=True)
        if row["train_loss"]
    ]
    pictures += [
        Picture(
            webp_of_png(row["redrawn"]),
            f"Windows that {row['encoder']} did not learn from, and below each image what it makes of it.",
        )
        for row in results.encoders.iter_rows(named=True)
        if row["redrawn"] is not None and not row["untrained"] and row["fold"] == 0
    ]
    columns = [
        "encoder",
        "kind",
        "unit",
        "untrained",
        "fold",
        "agreement",
        "numbers",
        "cells",
        "best_epoch",
        "verdict",
        "split",
        "licence",
        "sha256",
    ]
    table = frame_table(results.encoders.select(columns), "Encoders of the study")
    told = results.encoders.filter(pl.col("labels").list.len() > 0)["encoder"].to_list()
    added = _added(results)
    caption = " ".join([*added[1:], *_told(told)])
    return [Section("Learned embeddings", caption, pictures, [table], added[0])]


def webp_of_png(picture: str) -> bytes:
    """A grey PNG (base64) as the page keeps pictures."""
    from PIL import Image

    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("L"), np.float32) / 255
    return photo_bytes(np.repeat(grey[..., None], 3, axis=2))


def _added(results: Results) -> list[str]:
    """A sentence for each space and twin of it: what learning added to the replicates' average precision."""
    sentences = []
    start = {UNTRAINED: "the same network with drawn weights", STARTED: "the weights that it started from"}
    twins = pl.any_horizontal(pl.col("scope") == pl.format("against {}" + ending, "variant") for ending in start)
    rows = results.metrics.filter(pl.col("metric") == LEARNED, twins)
    for row in rows.iter_rows(named=True):
        twin = row["scope"].removeprefix("against ")
        low, high = row["ci_low"], row["ci_high"]
        sure = low is not None and not low <= 0 <= high
        what = ("something" if row["value"] > 0 else "less than nothing") if sure else "nothing that is sure"
        interval = "" if low is None else f" [{number(low)}, {number(high)}]"
        sentences.append(
            f"Learning added {what} in the space {row['variant']} ({row['evaluator']}): {number(row['value'])}"
            f"{interval} in mean average precision over {row['n']} treatments, against "
            f"{start[STARTED if twin.endswith(STARTED) else UNTRAINED]} ({twin}). What its encoder saw of the scored "
            f"wells: {row['encoder_saw']}."
        )
    return sentences or ["No space of an encoder was compared with its untrained twin."]


def _told(encoders: Sequence[str]) -> list[str]:
    if not encoders:
        return ["No encoder was told a treatment."]
    return [f"Told treatments of wells that are scored, which flatters it: {', '.join(encoders)}."]


def what_learning_added(results: Results) -> str:
    """What the learned spaces have beyond the main one, by paired intervals; empty where none is learned or it is
    itself the main one."""
    learned = [
        variant_name(name, names[-1])
        for name, names in space_steps(results.study.spaces, results.study.corrections).items()
        if isinstance(results.study.spaces[name], EmbeddingSpace) and not name.endswith((UNTRAINED, STARTED))
    ]
    said = []
    for name in learned:
        if name == results.main:
            continue
        rows = results.metrics.filter(pl.col("metric") == LEARNED, pl.col("ci_low").is_not_null())
        straight = rows.filter(variant=name, scope=f"against {results.main}").select("value", "ci_low", "ci_high")
        turned = rows.filter(variant=results.main, scope=f"against {name}").select(
            -pl.col("value"), -pl.col("ci_high"), -pl.col("ci_low")
        )
        found = [*straight.iter_rows(), *turned.iter_rows()]
        if found:
            value, low, high = found[0]
            verdict = (
                f"has something that {results.main} does not" if low > 0 else f"is worse than {results.main}"
                if high < 0 else f"has nothing that is sure beyond {results.main}"
            )  # fmt: skip
            said.append(f"the learned space {name} {verdict} (mAP {number(value)}, {number(low)} to {number(high)})")
    return "; ".join(said)
