"""The stage `attributions`: where encoders look, as heat maps of windows and as numbers of them (rows Z9 to Z11).

Windows are drawn evenly over treatments, from wells that the encoder has not seen as far as there are any. The
encoder's untrained twin is asked about the same ones.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.lake.tables import table
from morpho_assets.lake.work import Work
from morpho_assets.learn.cells import Cells, joined
from morpho_assets.learn.encoders import Trained, load_encoder
from morpho_assets.learn.heat import Method, heat_maps, scored_by, scores
from morpho_assets.learn.kinds import UNTRAINED
from morpho_assets.learn.seen import encoder_of_plate
from morpho_assets.learn.windows import WELL, PlateWindows
from morpho_assets.profiles.rejected import PLACE, rejected_sites

KEYS = [*WELL, "Metadata_Site", "number"]
REFERENCES = 16
"""Other windows of each class whose mean embedding stands for it, where an encoder has no head."""


class AttributionConfig(BaseModel):
    """Where an encoder looks: of which windows, by which methods, and what counts as looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str | None = Field(None, description="name of the study's encoder; null: that of this entry's name")
    methods: tuple[Method, ...] = Field(
        ("grad_cam",), min_length=1, description="grad_cam, integrated_gradients, occlusion"
    )
    layer: str | None = Field(
        None, description="of Grad-CAM: a module of the network by its name in torch; null: the last that gives maps"
    )
    explains: Literal["named", "told"] = Field(
        "named", description="the score of the class that the encoder names, or of the window's own treatment"
    )
    treatments: Literal["all"] | tuple[str, ...] = Field(
        "all", description="treatments (Metadata_Perturbation) whose windows are looked at"
    )
    windows: int = Field(8, ge=1, description="windows of each treatment")
    shown: int = Field(2, ge=0, description="of these so many are kept as pictures")
    threshold: Literal["pooled", "window", "absolute"] = Field(
        "pooled",
        description="what is looked at: pixels above a quantile of all maps, above a quantile of their own map (whose "
        "area is then the same in all), or above a value, the largest of a map being 1",
    )
    level: float = Field(0.8, gt=0, lt=1, description="that quantile or value")
    region: Literal["window", "cell"] = Field("window", description="area is a share of the window, or of the cell")
    seed: int = Field(0, ge=0, description="seed of the draw of windows")


def attribute_study(work: Work, scored: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Write `attributions`, a row for each window, encoder and method, and `metrics` of them, which `scored` makes."""
    asked: Mapping[str, AttributionConfig] = work.settings.attributions
    frames = [table("attributions").empty()]
    for number, (name, config) in enumerate(asked.items(), start=1):
        try:
            frames += _of_entry(work, name, config)
        except InputError as error:
            where = f"attributions.{name}, {error.where}"
            raise InputError(f"study {work.key}", where, error.found, error.expected, error.do) from error
        work.progress("attributions", number, len(asked))
    columns = [column.name for column in table("attributions").columns]
    found = pl.concat(frames, how="diagonal_relaxed").select(columns)
    work.write("attributions", found)
    metrics = scored(found)
    work.write("metrics", metrics.with_columns(study=pl.lit(work.key)) if metrics.height else table("metrics").empty())


def _of_entry(work: Work, name: str, config: AttributionConfig) -> Iterator[pl.DataFrame]:
    encoders = work.inputs.read("encoders", work.key)
    encoder = config.encoder or name
    wells = work.inputs.scan("wells", list(work.source)).collect()
    if config.treatments != "all":
        unknown = sorted(set(config.treatments) - set(wells["Metadata_Perturbation"].drop_nulls()))
        if unknown:
            raise InputError(
                "attributions", "treatments", unknown[0], "treatments of the study's plates", "Name others."
            )
        wells = wells.filter(pl.col("Metadata_Perturbation").is_in(list(config.treatments)))
    drawn: pl.DataFrame | None = None
    for each in (encoder, f"{encoder}{UNTRAINED}"):
        folds = encoders.filter(encoder=each)
        if not folds.height:
            continue
        lesson = _Asked(work, each, folds)
        if drawn is None:
            drawn = draw_windows(lesson.rows(wells), config)
        yield from lesson.frames(name, config, drawn)


def draw_windows(rows: pl.DataFrame, config: AttributionConfig) -> pl.DataFrame:
    """Rows of windows with `treatment` and `seen` (whether the encoder saw their well), thinned and with `role`.

    Of each treatment `windows` are `explained` and REFERENCES more are `reference`, of other wells (of a treatment with
    one well other windows), evenly from these, and first from those that were not seen.
    """
    alone = pl.col("well").max().over("treatment") == 0
    explained = pl.when(alone).then(pl.col("turn") % 2 == 0).otherwise(pl.col("well") % 2 == 0)
    most = pl.when(pl.col("role") == "explained").then(config.windows).otherwise(REFERENCES)
    return (
        rows.sort("seen", *WELL, "Metadata_Site", "number")
        .with_columns(turn=pl.int_range(pl.len()).shuffle(seed=config.seed).over(WELL))
        .with_columns(well=pl.struct("seen", *WELL).rank("dense").cast(pl.Int64).over("treatment") - 1)
        .with_columns(role=pl.when(explained).then(pl.lit("explained")).otherwise(pl.lit("reference")))
        .sort("seen", "turn", *WELL)
        .with_columns(place=pl.int_range(pl.len()).over("treatment", "role"))
        .filter(pl.col("place") < most)
        .drop("turn", "well")
    )


@dataclass(frozen=True)
class _Taken:
    """Windows to explain of one fold: as its network is given them, whose they are, and their compartments."""

    cells: Cells
    keys: pl.DataFrame
    inside: NDArray[np.bool_]
    nuclei: NDArray[np.bool_]


class _Asked:
    """An encoder of the study, and the windows of the plates as it sees them."""

    def __init__(self, work: Work, name: str, folds: pl.DataFrame) -> None:
        self.work, self.name = work, name
        self.rejected = rejected_sites(work.inputs, work.source)
        rows = folds.sort("fold").to_dicts()
        self.folds = {row["fold"]: self._load(row) for row in rows}
        self.fold_of = {plate: encoder_of_plate(folds, plate)["fold"] for plate in work.source}
        self.plates = {
            plate: PlateWindows.of(work.inputs, source.store(), plate, self._config(plate))
            for plate, source in work.source.items()
        }

    def _load(self, row: Mapping[str, Any]) -> Trained:
        card, weights = (self.work.lake.read_bytes(row[part]) for part in ("path", "weights"))
        return load_encoder(card, weights, file=row["path"])

    def _config(self, plate: str) -> Any:
        card = self.folds[self.fold_of[plate]].card
        return card.config.model_copy(update={"channels": card.inputs.channels})

    def rows(self, wells: pl.DataFrame) -> pl.DataFrame:
        """Rows of all windows of these wells with their treatments, and whether the fold of their plate saw them."""
        of = wells.select(*WELL, treatment=pl.col("Metadata_Perturbation")).drop_nulls("treatment")
        parts = []
        for name, plate in self.plates.items():
            seen = list(self.folds[self.fold_of[name]].card.seen.wells)
            rows = plate.rows(wells).join(of, on=WELL, how="inner").join(self.rejected, on=PLACE, how="anti")
            parts.append(rows.with_columns(seen=pl.concat_str(WELL, separator=" ").is_in(seen)))
        return pl.concat(parts)

    def frames(self, name: str, config: AttributionConfig, drawn: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The rows of `attributions` of these windows, of each method."""
        from morpho_assets.learn.tensors import device_named

        treatments = drawn["treatment"].unique().sort().to_list()
        taken, means = self._taken(drawn, treatments)
        for method in config.methods:
            made, heats, regions = [], [], []
            for number, of in taken.items():
                trained = self.folds[number]
                device = device_named(trained.card.config.device)
                scored, by_head = scored_by(trained, means, device)
                names = np.array(trained.card.classes if by_head else treatments)
                own = of.cells.own
                logits = scores(scored, of.cells.crops, own, device)
                told = of.keys["treatment"].to_numpy()
                named = names[logits.argmax(axis=1)]
                wanted = named if config.explains == "named" else np.where(np.isin(told, names), told, named)
                classes = np.searchsorted(names, wanted)  # classes are sorted
                heat = heat_maps(scored, of.cells.crops, own, classes.astype(np.int64), method, config.layer, device)
                known = pl.col("treatment").is_in(names.tolist())
                keys = of.keys.with_columns(
                    explains=pl.Series(wanted), by_head=pl.lit(by_head), named=pl.Series(named),
                    right=pl.when(known).then(pl.Series(named) == pl.col("treatment")),
                    classes=pl.lit(len(names)),
                )  # fmt: skip
                made.append(keys.hstack(_masses(heat, of.inside, of.nuclei)).hstack(_pictures(config, keys, of, heat)))
                heats.append(heat)
                regions.append(of.inside if config.region == "cell" else np.ones_like(of.inside))
            heat, region = np.concatenate(heats), np.concatenate(regions)
            area, inside = looked_at(heat, region, config.threshold, config.level)
            yield pl.concat(made).with_columns(
                area=pl.Series(area, nan_to_null=True), mean_inside=pl.Series(inside, nan_to_null=True),
                study=pl.lit(self.work.key), attribution=pl.lit(name), encoder=pl.lit(self.name),
                method=pl.lit(method), level=pl.lit(config.level if config.threshold != "absolute" else None),
            )  # fmt: skip

    def _taken(
        self, drawn: pl.DataFrame, treatments: list[str]
    ) -> tuple[dict[int, _Taken], NDArray[np.float32]]:  # fmt: skip
        """By fold the windows to explain, and the mean embedding of each treatment's references (of its other windows,
        where it has none)."""
        parts: dict[int, list[_Taken]] = {}
        vectors, names, roles = [], list[str](), list[str]()
        for plate, windows in self.plates.items():
            rows, number = drawn.filter(Metadata_Plate=plate), self.fold_of[plate]
            if not rows.height:
                continue
            trained, scaling = self.folds[number], windows.scaling()
            rows = rows.sort("Metadata_Well", "Metadata_Site", "number")
            for keys, cells in windows.stream(rows):
                vectors.append(trained.encode(cells, scaling))
                names += keys["treatment"].to_list()
                roles += keys["role"].to_list()
                chosen = np.flatnonzero((keys["role"] == "explained").to_numpy())
                if len(chosen):
                    keys = keys[chosen.tolist()]
                    own = list(windows.compartments(keys))
                    inside, nuclei = (np.concatenate(each) for each in zip(*own, strict=True))
                    scaled = trained.scaled(cells[chosen], scaling)
                    np.nan_to_num(scaled.crops, copy=False)  # such a window has no embedding, and no heat
                    parts.setdefault(number, []).append(_Taken(scaled, keys, inside, nuclei))
        if not parts:
            raise InputError("attributions", "treatments", "no windows of these treatments", "some with cells",
                             "Name others, or check the masks.")  # fmt: skip
        taken = {
            number: _Taken(
                joined([part.cells for part in each]), pl.concat([part.keys for part in each]),
                np.concatenate([part.inside for part in each]), np.concatenate([part.nuclei for part in each]),
            )
            for number, each in sorted(parts.items())
        }  # fmt: skip
        found, of, role = np.nan_to_num(np.concatenate(vectors)), np.array(names), np.array(roles)
        means = []
        for treatment in treatments:
            rows_of = of == treatment
            others = rows_of & (role == "reference")
            means.append(found[others if others.any() else rows_of].mean(axis=0))
        return taken, np.asarray(means, np.float32)


def looked_at(
    heat: NDArray[np.float32], region: NDArray[np.bool_], threshold: str, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of maps (n, S, S) and a region of each, the share of the region above the threshold, and the mean heat there.

    `pooled`: above the quantile `level` of all maps in their regions, `window`: of the map's own, `absolute`: above
    `level`. An empty region has no area (NaN), nothing above the threshold no mean.
    """
    if threshold == "pooled":
        limits = np.full(len(heat), np.quantile(heat[region], level) if region.any() else 0.0)
    elif threshold == "window":
        limits = np.array(
            [np.quantile(each[own], level) if own.any() else 0.0 for each, own in zip(heat, region, strict=True)]
        )
    else:
        limits = np.full(len(heat), level)
    above = (heat > limits[:, None, None]) & region
    pixels, there = region.sum(axis=(1, 2)), above.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        return there / np.where(pixels, pixels, np.nan), (heat * above).sum(axis=(1, 2)) / np.where(
            there, there, np.nan
        )


def _masses(heat: NDArray[np.float32], inside: NDArray[np.bool_], nuclei: NDArray[np.bool_]) -> pl.DataFrame:
    """Of each map the share of its heat in the nucleus, in the cytoplasm and outside of the cell, and the shares that
    these are of the window; heat is null where a map is 0 all over."""
    cell = inside | nuclei
    total = heat.sum(axis=(1, 2), dtype=np.float64)
    columns = {}
    for name, where in {"nucleus": nuclei, "cytoplasm": cell & ~nuclei, "outside": ~cell}.items():
        mass = (heat * where).sum(axis=(1, 2), dtype=np.float64) / np.where(total > 0, total, np.nan)
        columns[f"heat_{name}"] = pl.Series(mass, nan_to_null=True)
        columns[f"share_{name}"] = pl.Series(where.mean(axis=(1, 2)))
    return pl.DataFrame(columns)


def _pictures(
    config: AttributionConfig, keys: pl.DataFrame, of: _Taken, heat: NDArray[np.float32]
) -> pl.DataFrame:  # fmt: skip
    """Of the first windows of each treatment the channels and the map as pictures; null for the others."""
    shown = (keys["place"] < config.shown).to_list()
    pictures = [
        (_png(np.hstack(list(crop))), _png(each)) if show else (None, None)
        for show, crop, each in zip(shown, of.cells.crops, heat, strict=True)
    ]
    columns = {"window": [window for window, _ in pictures], "heat": [map_ for _, map_ in pictures]}
    frame = pl.DataFrame(columns, schema={"window": pl.String, "heat": pl.String})
    return frame.with_columns(channels=pl.lit(list(of.cells.channels)))


def _png(plane: NDArray[np.float32]) -> str:
    """Base64 of a plane in [0, 1] as a grey PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * np.nan_to_num(np.clip(plane, 0, 1))).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
