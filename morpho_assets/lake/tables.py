"""The registry of tables: name, keys, columns with type, unit and meaning.

What belongs here: every table of the lake, and the cast that refuses what does not fit. The catalog's comments and
docs/tables.md are made from it; nothing else lists columns.

A table is cut into partitions by plate or by study. `columns` are always there; `families` are columns found by the
start of their name, such as the measurements of a compartment, of which a partition may hold any number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
import polars.selectors as selectors
from polars.datatypes import DataTypeClass

from morpho_assets.errors import LakeError
from morpho_assets.lake.files import quoted

Dtype = pl.DataType | DataTypeClass


@dataclass(frozen=True)
class Column:
    """One column: polars type, meaning, and unit (empty where it has none). `is_file`: it holds paths of the lake."""

    name: str
    dtype: Dtype
    meaning: str
    unit: str = ""
    is_file: bool = False


@dataclass(frozen=True)
class Family:
    """Any number of columns whose names start with `prefix`; all of one type."""

    prefix: str
    dtype: Dtype
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table of the lake. `keys` name a row; `native` tables are copied into the catalog, others are views."""

    name: str
    partition: Literal["plate", "study"]
    about: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    families: tuple[Family, ...] = ()
    native: bool = True

    @property
    def partition_column(self) -> str:
        """The key column whose value is in the name of the folder of a file."""
        return "Metadata_Plate" if self.partition == "plate" else "study"

    def folder(self, key: str) -> str:
        """The folder of a plate's or a study's files, from which DuckDB takes the value of the column."""
        return f"{self.partition_column}={quoted(key)}"

    def dtype(self, column: str) -> Dtype:
        """The declared type of a column. Raises LakeError for a column that is neither listed nor of a family."""
        for declared in self.columns:
            if declared.name == column:
                return declared.dtype
        for family in self.families:
            if has_prefix(column, [family.prefix]):
                return family.dtype
        families = [f"{family.prefix}*" for family in self.families]
        raise LakeError(
            f"table {self.name}: column {column!r} is not declared; "
            f"it has {[c.name for c in self.columns] + families}. Declare it in lake/tables.py or drop it."
        )

    def cast(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows as the lake keeps them: `fit`, and NaN and infinities of floats become null, so that SQL's
        aggregates pass over what is undefined.

        A missing or null key, a repeated key, an undeclared column or a value that does not fit its type raises
        LakeError.
        """
        frame = self.fit(frame)
        if floats := frame.select(selectors.float()).columns:
            # looked at in one array: thousands of expressions cost more than what they find
            finite = np.isfinite(frame[floats].to_numpy()).all(axis=0)
            undefined = [name for name, whole in zip(floats, finite, strict=True) if not whole]
            frame = frame.with_columns(pl.when(pl.col(undefined).is_finite()).then(pl.col(undefined)).name.keep())
        self._check_keys(frame)
        return frame

    def fit(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with declared types and order: declared columns first, families in their given order.

        Missing optional columns become null; a missing key, an undeclared column or a value that does not fit its
        type raises LakeError.
        """
        missing = [key for key in self.keys if key not in frame.columns]
        if missing:
            raise LakeError(f"table {self.name}: key columns {missing} are missing; found {frame.columns[:20]}")
        declared, found = self.schema, dict(frame.schema)
        types = declared | {name: self.dtype(name) for name in found if name not in declared}
        changed: dict[Dtype, list[str]] = {}
        for name, dtype in found.items():
            if types[name] != dtype:
                changed.setdefault(types[name], []).append(name)
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in declared.items() if name not in found]
        casts = [pl.col(names).cast(dtype) for dtype, names in changed.items()]
        try:
            return (frame.with_columns(*absent, *casts) if absent or casts else frame)[list(types)]
        except pl.exceptions.PolarsError as error:
            raise LakeError(f"table {self.name}: a value does not fit its declared type: {error}") from error

    @property
    def schema(self) -> dict[str, Dtype]:
        """The declared columns and their types."""
        return {column.name: column.dtype for column in self.columns}

    def empty(self) -> pl.DataFrame:
        """A frame of no rows with the declared columns."""
        return pl.DataFrame(schema=self.schema)

    def _check_keys(self, frame: pl.DataFrame) -> None:
        keys = frame.select(self.keys)
        nulls = [key for key in self.keys if keys[key].null_count()]
        if nulls:
            raise LakeError(f"table {self.name}: key columns {nulls} hold nulls")
        repeated = keys.filter(keys.is_duplicated())
        if repeated.height:
            raise LakeError(
                f"table {self.name}: {repeated.height} rows share a key, such as {repeated.row(0, named=True)}"
            )


PLATE = Column("Metadata_Plate", pl.String, "plate barcode, unique in the registry")
WELL = Column("Metadata_Well", pl.String, "well, A01 to P24 (384) or AF48 (1536)")
SITE = Column("Metadata_Site", pl.Int32, "field of view within the well")
CHANNEL = Column("channel", pl.String, "stain: DNA, ER, RNA, AGP, Mito or any other")
SERIES = Column("series", pl.Int32, "image within a file that holds several, from 0; null: the only one")
FRAME = Column("frame", pl.Int32, "page or plane of the file that shows the channel, from 0; null: the only one")
TILE = Column("Metadata_Tile", pl.Int32, "tile of the site, row by row from 1; 0: the whole site")
OBJECT = Column("ObjectNumber", pl.Int32, "label of the cell in its site's label images, from 1")
STUDY = Column("study", pl.String, "name of the study")
MODEL = Column("model", pl.String, "phenotype of the study, whose model it is")
PREDICTED_BY = Column(
    "predicted_by", pl.String, "model (the final one), shuffled (of shuffled features, the null), or held out by what"
)
ASSAY = Column("assay", pl.String, "name of the assay")
COMPOUND = Column("compound", pl.String, "id of the compound")
SPLIT = Column("split", pl.String, "what folds keep together: by scaffold, by batch, …")
PREDICTOR = Column("predictor", pl.String, "modality, or how several are joined, or a baseline")
ENCODER_SAW = Column(
    "encoder_saw",
    pl.String,
    "what the space's encoders saw of the scored wells: wells, treatments, compounds, labels, or nothing; null without "
    "an encoder",
)
ANNOTATION = Family("Metadata_", pl.String, "annotation from the platemap and the external metadata")
WELL_ANNOTATION = (
    Column("Metadata_Row", pl.Int32, "row of the well on the plate, from 1"),
    Column("Metadata_Col", pl.Int32, "column of the well on the plate, from 1"),
    Column("Metadata_Source", pl.String, "source of the plate in the gallery, such as source_4"),
    Column("Metadata_Batch", pl.String, "batch of the plate"),
    Column("Metadata_Perturbation", pl.String, "treatment: what replicates share (compound and dose, ORF, guide)"),
    Column("Metadata_pert_type", pl.String, "trt, control or empty"),
    Column("Metadata_control_type", pl.String, "negcon, poscon_… or null"),
)
FURTHER = Family(
    "*_",
    pl.Float32,
    "CellProfiler measurement of other objects: their name, then one of MODULES (Nucleoli_AreaShape_Area)",
)
COMPARTMENTS = (
    *(
        Family(f"{name}_", pl.Float32, f"CellProfiler measurement of the {name.lower()}; docs/measurements.md")
        for name in ("Nuclei", "Cells", "Cytoplasm")
    ),
    FURTHER,
)
MODULES = (
    "AreaOccupied", "AreaShape", "Children", "Classify", "Correlation", "Distance", "Granularity", "ImageQuality",
    "Intensity", "Location", "Math", "Mean", "Neighbors", "ObjectSkeleton", "Overlap", "RadialDistribution", "Texture",
    "TrackObjects", "Worm",
)  # fmt: skip
"""The modules of CellProfiler whose measurements are of objects."""
_OTHER_OBJECT = re.compile(rf"(?!Metadata_|Image_|Embedding_|PC_)\w+?_({'|'.join(MODULES)})_")


def has_prefix(column: str, prefixes: Iterable[str]) -> bool:
    """Whether a column's name starts with one of the prefixes; `*_` is any object's name before a module's."""
    prefixes = tuple(prefixes)
    return column.startswith(prefixes) or (FURTHER.prefix in prefixes and _OTHER_OBJECT.match(column) is not None)


PHENOTYPES = Family("Phenotype_", pl.Float32, "probability of a phenotype over the cells of the well")
FEATURES = (
    *COMPARTMENTS,
    Family("Embedding_", pl.Float32, "one dimension of a learned embedding"),
    Family("PC_", pl.Float32, "one principal component, after a correction that rotates"),
    PHENOTYPES,
)
SPACE_FEATURES = (
    *FEATURES,
    Family("Count_", pl.Float32, "cell count, the baseline space"),
    Family("ImageQuality_", pl.Float32, "measurement of a whole image, its channel at the end; docs/quality.md"),
    Family("Field_", pl.Float32, "how a channel lies on the site's other channels, its channel at the end; likewise"),
    Family("Pixel_", pl.Float32, "pixel of a resized image: channel, row, column"),
    Family("Noise_", pl.Float32, "drawn at random: what joining something that knows nothing does"),
    Family("Joined_", pl.Float32, "feature of a joined space: the space, then the feature"),
)
"""What a feature space may hold."""
WELL_COUNTS = (
    Column("Metadata_Count_Cells", pl.Int32, "cells behind the row", "cells"),
    Column("Metadata_Count_Sites", pl.Int32, "sites behind the row", "sites"),
    Column("Metadata_Count_Failed_Sites", pl.Int32, "sites of the well that failed, see site_failures", "sites"),
    Column("Metadata_Count_Flagged_Sites", pl.Int32, "sites of the well with an image quality flag", "sites"),
    Column(
        "Metadata_Count_Implausible_Cells",
        pl.Int32,
        "cells with an implausible mask; kept unless settings say so",
        "cells",
    ),
)

_TABLES = (
    Table(
        "wells",
        "plate",
        "One row per well of the platemap: what was done to it.",
        ("Metadata_Plate", "Metadata_Well"),
        (
            PLATE,
            WELL,
            *WELL_ANNOTATION,
            Column("described", pl.Boolean, "whether the external metadata has a row for the well's perturbation"),
        ),
        (ANNOTATION,),
    ),
    Table(
        "sites",
        "plate",
        "One row per image that was acquired: which file holds which channel of which site.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel"),
        (
            PLATE,
            WELL,
            SITE,
            CHANNEL,
            Column("source", pl.String, "name of the source in the settings, which says how the image is read"),
            Column("uri", pl.String, "where the image lies: a local path or s3://…"),
            SERIES,
            FRAME,
            Column("illumination_uri", pl.String, "the gallery's own illumination function of the channel, or null"),
        ),
    ),
    Table(
        "image_files",
        "plate",
        "One row per image that was fetched and verified.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel"),
        (
            PLATE,
            WELL,
            SITE,
            CHANNEL,
            Column("uri", pl.String, "where the image came from"),
            SERIES,
            FRAME,
            Column("path", pl.String, "the local file that stages read"),
            Column("bytes", pl.Int64, "size of the file", "bytes"),
            Column("sha256", pl.String, "checksum of the file"),
        ),
    ),
    Table(
        "site_failures",
        "plate",
        "One row per image or site that a stage could not use; the plate went on without it.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel", "stage"),
        (
            PLATE,
            WELL,
            SITE,
            Column("channel", pl.String, "stain of the failing image, or * for all of the site"),
            Column("stage", pl.String, "asset that failed"),
            Column("error", pl.String, "what went wrong and what to do"),
            Column("path", pl.String, "the file concerned"),
        ),
    ),
    Table(
        "illumination_functions",
        "plate",
        "One row per channel of a plate: its illumination function, by which images are divided.",
        ("Metadata_Plate", "channel"),
        (
            PLATE,
            CHANNEL,
            Column("path", pl.String, "the .npy file, relative to the lake's root", is_file=True),
            Column("dark_path", pl.String, "the dark field that is subtracted first, or null", is_file=True),
            Column("method", pl.String, "how it was made: computed by which method, or the gallery's own"),
            Column("images", pl.Int32, "images it was computed from", "images"),
            Column("minimum", pl.Float32, "smallest value: how dark the darkest corner is, relative"),
            Column("maximum", pl.Float32, "largest value"),
        ),
    ),
    Table(
        "image_quality",
        "plate",
        "One row per site and channel: focus, saturation and intensity of the raw image, and flags to act on.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "channel"),
        (
            PLATE,
            WELL,
            SITE,
            CHANNEL,
            Column("same_field_as", pl.String, "the plate's first site that shows the same field, or null"),
        ),
        (
            Family("ImageQuality_", pl.Float32, "CellProfiler MeasureImageQuality; docs/quality.md"),
            Family("Field_", pl.Float32, "how the channel lies on the site's other channels; docs/quality.md"),
            Family("flag_", pl.Boolean, "true where a person should look at the image"),
        ),
    ),
    Table(
        "field_fingerprints",
        "plate",
        "One row per site: its field in coarse blocks, by which two sites that show the same one are found.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site"),
        (
            PLATE,
            WELL,
            SITE,
            Column("fingerprint", pl.List(pl.Float32), "the pattern of light, or null where there is none"),
        ),
        native=False,
    ),
    Table(
        "masks",
        "plate",
        "One row per segmented site, also where no cell was found: its label images and counts.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site"),
        (
            PLATE,
            WELL,
            SITE,
            Column("nuclei", pl.String, "label image of the nuclei, relative to the lake's root", is_file=True),
            Column("cells", pl.String, "label image of the cells, relative to the lake's root", is_file=True),
            Column("Count_Cells", pl.Int32, "cells in the site", "cells"),
            Column("Count_Dropped", pl.Int32, "nuclei or cells left out because they had no partner", "objects"),
        ),
    ),
    Table(
        "objects",
        "plate",
        "One row per cell: where it lies in its site.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"),
        (
            PLATE,
            WELL,
            SITE,
            OBJECT,
            Column("Nuclei_Center_X", pl.Float32, "centroid of the nucleus, column", "px"),
            Column("Nuclei_Center_Y", pl.Float32, "centroid of the nucleus, row", "px"),
            Column("Nuclei_Area", pl.Int32, "area of the nucleus", "px"),
            Column("Cells_Area", pl.Int32, "area of the cell", "px"),
        ),
    ),
    Table(
        "single_cells",
        "plate",
        "One row per cell: every measurement under CellProfiler's name.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"),
        (PLATE, WELL, SITE, OBJECT),
        COMPARTMENTS,
        native=False,
    ),
    Table(
        "measured_sites",
        "plate",
        "One row per image of a plate that was measured elsewhere, also where no cell was found; else empty.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site"),
        (PLATE, WELL, SITE, Column("Count_Cells", pl.Int32, "cells that were read", "cells")),
    ),
    Table(
        "implausible_cells",
        "plate",
        "One row per cell that a rule of the single-cell quality control hits; it is in `single_cells` all the same.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"),
        (
            PLATE,
            WELL,
            SITE,
            OBJECT,
            Column("implausible_in", pl.String, "the measurements that are implausible, with commas between"),
        ),
    ),
    Table(
        "rejected_sites",
        "plate",
        "One row per site that the plate's profiles were made without, because a person rejected it or its well.",
        ("Metadata_Plate", "Metadata_Well", "Metadata_Site"),
        (PLATE, WELL, SITE, Column("rejected_by", pl.String, "name and reason")),
    ),
    Table(
        "well_profiles",
        "plate",
        "One row per well of the platemap that was imaged: its cells' measurements, aggregated; empty wells are null.",
        ("Metadata_Plate", "Metadata_Well"),
        (PLATE, WELL, *WELL_ANNOTATION, *WELL_COUNTS),
        (ANNOTATION, *FEATURES),
    ),
    Table(
        "normalized_profiles",
        "plate",
        "The well profiles in units of the plate's control wells.",
        ("Metadata_Plate", "Metadata_Well"),
        (PLATE, WELL, *WELL_ANNOTATION, *WELL_COUNTS),
        (ANNOTATION, *FEATURES),
    ),
    Table(
        "encoders",
        "study",
        "One row per encoder of a study (cross-fitted: and fold): its card and weights, what it has seen, and how its "
        "training went.",
        ("study", "encoder", "fold"),
        (
            STUDY,
            Column("encoder", pl.String, "name of the encoder"),
            Column("fold", pl.Int32, "number of the fold, from 0, of a cross-fitted encoder; else 0"),
            Column("plates", pl.List(pl.String), "plates that it embeds and has not seen; fold 0 also any of no fold"),
            Column("kind", pl.String, "imagenet, patches, file, vae, supervised, weakly_supervised, contrastive; set"),
            Column("untrained", pl.Boolean, "whether its weights are as drawn: what learning adds is the difference"),
            Column("path", pl.String, "its card (JSON), relative to the lake's root", is_file=True),
            Column("weights", pl.String, "its weights (safetensors), likewise", is_file=True),
            Column("sha256", pl.String, "hash of weights, inputs and settings: equal for equal encoders"),
            Column("numbers", pl.Int32, "length of an embedding"),
            Column("unit", pl.String, "what it embeds: cell, tile or site; of a set well"),
            Column("pixel_size", pl.Float64, "pixel of the windows it is given; null: nobody said", "µm"),
            Column("window_size", pl.Float64, "side of such a window; likewise", "µm"),
            Column(
                "cells", pl.Int32, "cells (tiles, sites) that weights, scaling or components were made from", "cells"
            ),
            Column(
                "agreement",
                pl.Float64,
                "of a further fold: share of the variation of controls on which it and the first fold agree",
            ),
            Column("wells", pl.List(pl.String), "their wells: plate and well, with a blank between"),
            Column("labels", pl.List(pl.String), "treatments that it was told"),
            Column("licence", pl.String, "terms of the weights"),
            Column("verdict", pl.String, "learned, not trained, or what came of its training instead"),
            Column("classes", pl.Int32, "treatments that a classifier learned to name; 0: it learned no names"),
            Column("chance", pl.Float64, "share of windows named rightly by chance: 1 / classes"),
            Column("majority", pl.Float64, "share named rightly by the commonest name alone, on what validates"),
            Column("top_1", pl.Float64, "share of windows that validate which it names rightly"),
            Column("top_5", pl.Float64, "share whose treatment is among its first five names"),
            Column("balanced_accuracy", pl.Float64, "mean over treatments of the share named rightly"),
            Column("train_top_1", pl.Float64, "share of windows that it learned from which it names rightly"),
            Column("trivial_loss", pl.Float64, "loss on what validates of the best answer that looks at no image"),
            Column("best_epoch", pl.Int32, "epoch whose weights were kept; 0 where no epochs were trained"),
            Column(
                "split", pl.String, "what was held out to validate: group (wells, plates or treatments), cell or none"
            ),
            Column("train_loss", pl.List(pl.Float64), "loss per epoch on training cells"),
            Column("validation_loss", pl.List(pl.Float64), "loss per epoch on held-out wells"),
            Column(
                "redrawn",
                pl.String,
                "PNG (base64) of an autoencoder: windows, and below each what it makes of it; else null",
            ),
        ),
    ),
    Table(
        "embeddings",
        "plate",
        "One row per cell and encoder: the cell's learned embedding.",
        ("study", "encoder", "Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"),
        (
            STUDY,
            Column("encoder", pl.String, "name of the encoder"),
            PLATE,
            WELL,
            SITE,
            OBJECT,
            Column("embedding", pl.List(pl.Float32), "the embedding vector"),
        ),
        native=False,
    ),
    Table(
        "tile_embeddings",
        "plate",
        "One row per tile of a site, or whole site, and encoder: its learned embedding.",
        ("study", "encoder", "Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Tile"),
        (
            STUDY,
            Column("encoder", pl.String, "name of the encoder"),
            PLATE,
            WELL,
            SITE,
            TILE,
            Column("first_row", pl.Int32, "row of the tile's upper left pixel in the site image, from 0", "pixels"),
            Column("first_column", pl.Int32, "column of it", "pixels"),
            Column("embedding", pl.List(pl.Float32), "the embedding vector"),
        ),
        native=False,
    ),
    Table(
        "profiles",
        "study",
        "One row per well, feature space and step of correction: what the evaluators compare.",
        ("study", "space", "step", "Metadata_Plate", "Metadata_Well"),
        (
            STUDY,
            Column("space", pl.String, "feature space: cellprofiler, an encoder, cell_count, …"),
            Column("step", pl.String, "selected, or the corrector that was applied last"),
            PLATE,
            WELL,
            *WELL_ANNOTATION,
            *WELL_COUNTS,
        ),
        (ANNOTATION, *SPACE_FEATURES),
    ),
    Table(
        "site_profiles",
        "study",
        "One row per site, space and step, of spaces whose rows are sites: images of one well are no replicates.",
        ("study", "space", "step", "Metadata_Plate", "Metadata_Well", "Metadata_Site"),
        (
            STUDY,
            Column("space", pl.String, "feature space"),
            Column("step", pl.String, "selected, or the corrector that was applied last"),
            PLATE,
            WELL,
            SITE,
            *WELL_ANNOTATION,
            WELL_COUNTS[0],
        ),
        (ANNOTATION, *SPACE_FEATURES),
    ),
    Table(
        "labels",
        "study",
        "One row per label of a phenotype's model: the cell that it means, or why it means none.",
        ("study", "model", "point"),
        (
            STUDY,
            MODEL,
            Column("point", pl.Int32, "number of the label, from 1"),
            PLATE,
            WELL,
            SITE,
            OBJECT,
            Column("x", pl.Float32, "place of the point, column; null for a label of a whole well", "px"),
            Column("y", pl.Float32, "place of the point, row; null for a label of a whole well", "px"),
            Column("class", pl.String, "class, after merging"),
            Column("annotator", pl.String, "who said so"),
            Column("distance", pl.Float32, "from the point to its cell; 0: inside", "px"),
            Column("status", pl.String, "given, conflict (a cell of several classes), or why it means no cell"),
            Column("trains", pl.Boolean, "whether the final model saw it"),
        ),
    ),
    Table(
        "models",
        "study",
        "One row per phenotype and model: how it was made, what it saw, and its two files.",
        ("study", "model", "predicted_by"),
        (
            STUDY,
            MODEL,
            PREDICTED_BY,
            Column("kind", pl.String, "classifier"),
            Column("path", pl.String, "its card (JSON), relative to the lake's root", is_file=True),
            Column("weights", pl.String, "its arrays (safetensors), likewise", is_file=True),
            Column("features", pl.Int32, "features that it sees", "features"),
            Column("classes", pl.List(pl.String), "its classes"),
            Column("cells", pl.List(pl.Int64), "training cells of each class", "cells"),
            Column("units", pl.List(pl.String), "images, wells, plates … that it saw, as `split` names them"),
            Column("split", pl.String, "what was kept whole where its settings were chosen"),
            Column("settings", pl.String, "settings that were chosen among several"),
            Column("notes", pl.String, "what became of labels, and what has to be known"),
        ),
    ),
    Table(
        "predictions",
        "study",
        "One row per cell, phenotype's model and way of predicting: the class and the probabilities.",
        ("study", "model", "predicted_by", "Metadata_Plate", "Metadata_Well", "Metadata_Site", "ObjectNumber"),
        (
            STUDY,
            MODEL,
            PREDICTED_BY,
            PLATE,
            WELL,
            SITE,
            OBJECT,
            Column("class", pl.String, "most probable class; null for a cell without features"),
            Column("probability", pl.Float32, "its probability"),
            Column("label", pl.String, "class that the cell was given, or null"),
            Column("in_training", pl.Boolean, "whether the model that predicts had seen the cell: never score these"),
            Column("fold", pl.Int32, "fold of a held-out prediction, from 0"),
        ),
        (Family("Probability_", pl.Float32, "probability of a class"),),
        native=False,
    ),
    Table(
        "phenotype_profiles",
        "study",
        "One row per well and phenotype's model: the probability of each class over its cells.",
        ("study", "model", "Metadata_Plate", "Metadata_Well"),
        (
            STUDY,
            MODEL,
            PLATE,
            WELL,
            *WELL_ANNOTATION,
            Column("cells", pl.Int32, "cells behind it", "cells"),
        ),
        (ANNOTATION, PHENOTYPES),
    ),
    Table(
        "enrichments",
        "study",
        "One row per well, phenotype and model: how its cells' probabilities differ from those of the controls.",
        ("study", "model", "predicted_by", "phenotype", "Metadata_Plate", "Metadata_Well"),
        (
            STUDY,
            MODEL,
            PREDICTED_BY,
            Column("phenotype", pl.String, "class"),
            PLATE,
            WELL,
            Column("treatment", pl.String, "treatment; null for a negative control"),
            Column("control", pl.Boolean, "a negative control, compared with the other controls: the null"),
            Column("cells", pl.Int32, "cells of the well", "cells"),
            Column("compared", pl.Int32, "cells of each side, after the larger was thinned", "cells"),
            Column("D", pl.Float64, "Kolmogorov-Smirnov distance"),
            Column("signed_D", pl.Float64, "the same, positive where the well has more of the phenotype"),
            Column(
                "excess",
                pl.Float64,
                "area between the distributions above the even share of probability: called by",
            ),
            Column("p_cells", pl.Float64, "p-value of independent cells, which these are not: never call by it"),
        ),
    ),
    Table(
        "phenotype_calls",
        "study",
        "One row per treatment, phenotype and model: whether it makes such cells more or fewer, called on wells.",
        ("study", "model", "predicted_by", "phenotype", "treatment"),
        (
            STUDY,
            MODEL,
            PREDICTED_BY,
            Column("phenotype", pl.String, "class"),
            Column("treatment", pl.String, "treatment"),
            Column("effect", pl.Float64, "mean excess of its wells beyond that of the controls"),
            Column("p_value", pl.Float64, "Student's t by the spread of control wells"),
            Column("q_value", pl.Float64, "Benjamini-Hochberg over treatments and phenotypes"),
            Column("called", pl.String, "more or fewer where the q-value is under the threshold"),
            Column("wells", pl.Int32, "wells behind it", "wells"),
            Column("plates", pl.Int32, "plates behind it", "plates"),
            Column("controls", pl.Int32, "control wells of these plates", "wells"),
        ),
    ),
    Table(
        "assays",
        "study",
        "One row per assay and compound of the study that it tested: the outcome.",
        ("study", "assay", "compound"),
        (
            STUDY,
            ASSAY,
            COMPOUND,
            Column("value", pl.Float64, "outcome as measured, the mean of its readouts", "of the file"),
            Column("active", pl.Boolean, "whether the compound is active"),
            Column("readouts", pl.Int32, "readouts behind it"),
            Column("note", pl.String, "why the assay is not predicted (too few of a class); null: it is"),
        ),
    ),
    Table(
        "assay_matches",
        "study",
        "One row per name of a compound in the file of assays: which compound of the study it means, if any.",
        ("study", "given"),
        (
            STUDY,
            Column("given", pl.String, "the compound as the file names it"),
            Column("compound", pl.String, "compound of the study; null where none has the name"),
            Column("matched_by", pl.String, "id, inchikey (its first block) or name; null likewise"),
            Column("note", pl.String, "that none, or several, fit; null: one does"),
            Column("outcomes", pl.Int32, "assays with an outcome of it"),
        ),
    ),
    Table(
        "assay_compounds",
        "study",
        "One row per compound that activity is asked of: what it is, and the fold in which it is tested.",
        ("study", "compound"),
        (
            STUDY,
            COMPOUND,
            Column("name", pl.String, "its name"),
            Column("smiles", pl.String, "structure as given"),
            Column("standard_smiles", pl.String, "largest fragment, neutral, canonical"),
            Column("inchikey", pl.String, "InChIKey, given or of the structure"),
            Column("scaffold", pl.String, "Bemis-Murcko scaffold; empty for a molecule without a ring"),
            Column("problem", pl.String, "why there is no structure; null: there is"),
            Column("plate", pl.String, "its plate; null where it lies on several"),
            Column("well", pl.String, "its well; likewise"),
            Column("batch", pl.String, "its batch; likewise"),
            Column("row", pl.Float64, "mean row of its wells, from 1"),
            Column("column", pl.Float64, "mean column of its wells, from 1"),
            Column("cell_count", pl.Float64, "mean number of cells of its wells", "cells"),
            Column("fold", pl.Int32, "fold of the first split, from 0"),
            Column("nearest", pl.Float64, "Tanimoto similarity to the nearest compound of another fold"),
        ),
    ),
    Table(
        "assay_scores",
        "study",
        "One row per assay, split and predictor: how well held-out compounds are predicted, baselines among them.",
        ("study", "split", "predictor", "assay"),
        (
            STUDY,
            SPLIT,
            PREDICTOR,
            Column("kind", pl.String, "modality, model, early, late, merger, baseline or shuffled (labels)"),
            Column("of", pl.String, "modalities that it is of"),
            ASSAY,
            Column("auroc", pl.Float64, "median AUROC over folds; chance is 0.5"),
            Column("ci_low", pl.Float64, "lower end of its 95 % over resamples of whole scaffolds or compounds"),
            Column("ci_high", pl.Float64, "upper end"),
            Column("average_precision", pl.Float64, "median average precision over folds"),
            Column("chance", pl.Float64, "share of actives, which is the average precision of chance"),
            Column("enrichment", pl.Float64, "median enrichment factor at the top 1 % over folds; chance is 1"),
            Column("folds", pl.Int32, "folds"),
            Column("dropped", pl.Int32, "folds without both classes, which have no score"),
            Column("actives", pl.Int32, "active compounds", "compounds"),
            Column("tested", pl.Int32, "tested compounds", "compounds"),
            Column("reached_by", pl.String, "nuisances that alone reach the score; null: none"),
        ),
    ),
    Table(
        "assay_overlaps",
        "study",
        "One row per split, threshold and set of modalities: assays that these predict above the threshold.",
        ("study", "split", "threshold", "predictors"),
        (
            STUDY,
            SPLIT,
            Column("threshold", pl.Float64, "AUROC that an assay has to pass"),
            Column("predictors", pl.String, "modalities, joined by +"),
            Column("number", pl.Int32, "how many"),
            Column("union", pl.Int32, "assays that any of them predicts", "assays"),
            Column("shared", pl.Int32, "assays that all of them predict", "assays"),
            Column("alone", pl.Int32, "assays that these predict, and no other modality", "assays"),
        ),
    ),
    Table(
        "assay_predictions",
        "study",
        "One row per assay and compound: its chance of being active, by models that did not see it, and how sure.",
        ("study", "assay", "compound"),
        (
            STUDY,
            ASSAY,
            COMPOUND,
            Column("tested", pl.Boolean, "whether the assay tested it"),
            Column("active", pl.Boolean, "the outcome; null where it was not tested"),
            Column("fold", pl.Int32, "fold of the first split, from 0"),
            Column("probability", pl.Float64, "calibrated chance of being active, of all modalities together"),
            Column("p_active", pl.Float64, "conformal p-value of being active: under 0.1 it is taken to be inactive"),
            Column("p_inactive", pl.Float64, "conformal p-value of being inactive"),
            Column("rank", pl.Int32, "place among untested compounds, the most probable first; null where tested"),
            Column("similarity", pl.Float64, "Tanimoto similarity to the nearest tested active of another fold"),
            Column("similar_to", pl.String, "that compound; null: none"),
        ),
        (Family("Probability_", pl.Float32, "chance by a modality alone, as its model gives it"),),
    ),
    Table(
        "feature_shifts",
        "study",
        "One row per feature of a model with a shift test: how differently plates that train and others have it.",
        ("study", "model", "feature"),
        (
            STUDY,
            MODEL,
            Column("feature", pl.String, "feature"),
            Column("ks", pl.Float64, "mean Kolmogorov-Smirnov distance over resamples"),
            Column("sd", pl.Float64, "its standard deviation over resamples"),
            Column("chance", pl.Float64, "what two samples of one population have in the mean"),
            Column("n", pl.Int32, "cells of each side in a resample", "cells"),
            Column("kept", pl.Boolean, "whether the model sees the feature"),
        ),
    ),
    Table(
        "space_steps",
        "study",
        "One row per step of a feature space: at which level it works, and on which rows it was fitted.",
        ("study", "space", "number"),
        (
            STUDY,
            Column("space", pl.String, "feature space"),
            Column("number", pl.Int32, "place in the list, from 1; 0: the source"),
            Column("step", pl.String, "the source, or what the step does"),
            Column("level", pl.String, "what its rows are: cell, site or well; of an aggregation both levels"),
            Column("fitted_on", pl.String, "rows that it was fitted on, as a condition; null: it fits nothing"),
            Column("rows_fitted", pl.Int64, "how many these were", "rows"),
            Column("features", pl.Int32, "features after it", "features"),
            Column("note", pl.String, "what it chose or left out"),
        ),
    ),
    Table(
        "feature_selection",
        "study",
        "One row per feature of a space that selection left out, and the rule that did.",
        ("study", "space", "feature"),
        (
            STUDY,
            Column("space", pl.String, "feature space"),
            Column("feature", pl.String, "the feature that was left out"),
            Column("operation", pl.String, "the rule"),
            Column("value", pl.Float64, "the figure by which the rule decided"),
        ),
    ),
    Table(
        "treatment_profiles",
        "study",
        "One row per treatment and feature space, after its last step: the consensus of the treatment's wells.",
        ("study", "space", "treatment"),
        (
            STUDY,
            Column("space", pl.String, "feature space"),
            Column("step", pl.String, "step of correction, as in profiles"),
            Column("treatment", pl.String, "treatment, or what else the study's consensus is by: treatment | batch"),
            Column("Metadata_Count_Profiles", pl.Int32, "wells behind the row", "wells"),
        ),
        (ANNOTATION, *SPACE_FEATURES),
    ),
    Table(
        "correction_notes",
        "study",
        "One row per thing that a correction chose or fell back to (a swept setting, controls fewer than features, …), "
        "and per plate that lacks features of a space.",
        ("study", "space", "step", "note"),
        (
            STUDY,
            Column("space", pl.String, "feature space"),
            Column("step", pl.String, "step of correction, as in profiles"),
            Column("note", pl.String, "what was chosen, or which documented fallback was taken"),
        ),
    ),
    Table(
        "projections",
        "study",
        "One row per well, feature space and kind of map: its place on the map.",
        ("study", "space", "step", "method", "Metadata_Plate", "Metadata_Well"),
        (
            STUDY,
            Column("space", pl.String, "feature space"),
            Column("step", pl.String, "step of correction"),
            Column("method", pl.String, "umap or tsne"),
            PLATE,
            WELL,
            Column("x", pl.Float32, "first axis of the map"),
            Column("y", pl.Float32, "second axis of the map"),
        ),
    ),
    Table(
        "set_profiles",
        "study",
        "One row per well and set of a study: its cells as the set sums them up.",
        ("study", "set", "Metadata_Plate", "Metadata_Well"),
        (
            STUDY,
            Column("set", pl.String, "name of the set, or of its twin"),
            PLATE,
            WELL,
            Column("cells", pl.Int32, "cells that it was given", "cells"),
            Column("embedding", pl.List(pl.Float32), "numbers of the well"),
        ),
        native=False,
    ),
    Table(
        "attributions",
        "study",
        "One row per window that was asked about, encoder and method: where the encoder looks.",
        ("study", "attribution", "encoder", "method", "Metadata_Plate", "Metadata_Well", "Metadata_Site", "number"),
        (
            STUDY,
            Column("attribution", pl.String, "name under `attributions` of the study"),
            Column("encoder", pl.String, "encoder that was asked, or its untrained twin"),
            Column("method", pl.String, "grad_cam, integrated_gradients or occlusion"),
            PLATE,
            WELL,
            SITE,
            Column("number", pl.Int32, "cell (ObjectNumber) or tile (Metadata_Tile; 0: the whole site)"),
            Column("treatment", pl.String, "treatment of the well"),
            Column("seen", pl.Boolean, "whether the encoder saw the well when it was fitted"),
            Column("explains", pl.String, "class whose score is explained"),
            Column(
                "by_head",
                pl.Boolean,
                "the score is the classifier's own; false: similarity to the class' mean embedding",
            ),
            Column("classes", pl.Int32, "classes that it could be named"),
            Column("named", pl.String, "class of the highest score"),
            Column("right", pl.Boolean, "whether that is its treatment; null where it is none of the classes"),
            Column("area", pl.Float64, "share of the window, or of the cell, whose heat lies above the threshold"),
            Column(
                "mean_inside", pl.Float64, "mean heat there, the largest of a window being 1; null: nothing is above"
            ),
            Column("level", pl.Float64, "quantile that is the threshold; null: it is a value"),
            Column("heat_nucleus", pl.Float64, "share of the heat that lies in the nucleus; null: there is no heat"),
            Column("heat_cytoplasm", pl.Float64, "in the cell around it; likewise"),
            Column("heat_outside", pl.Float64, "outside of the cell; likewise"),
            Column("share_nucleus", pl.Float64, "share of the window that is the nucleus (of a tile or site, any)"),
            Column("share_cytoplasm", pl.Float64, "that is the cell around it"),
            Column("share_outside", pl.Float64, "that is neither"),
            Column("channels", pl.List(pl.String), "the stains of `window`, from left to right"),
            Column(
                "window",
                pl.String,
                "PNG (base64): the window in every stain, as the encoder is given it; null: not kept",
            ),
            Column("heat", pl.String, "PNG (base64): its heat map; likewise"),
        ),
        native=False,
    ),
    Table(
        "montages",
        "study",
        "One row per treatment, and per plate one of its negative controls: some of its cells in every stain.",
        ("study", "treatment", "Metadata_Plate"),
        (
            STUDY,
            Column("treatment", pl.String, "treatment, as in treatments"),
            PLATE,
            WELL,
            SITE,
            Column("objects", pl.List(pl.Int32), "the cells, from left to right"),
            Column("near", pl.List(pl.String), "of each cell: near the median of its well, or near its extreme"),
            Column("channels", pl.List(pl.String), "the stains, from top to bottom"),
            Column("low", pl.List(pl.Float32), "intensity of each stain that is black, by the plate's controls"),
            Column("high", pl.List(pl.Float32), "intensity of each stain that is white; likewise"),
            Column("side", pl.Int32, "side of a cell's square", "px"),
            Column("micrometres", pl.Float64, "width of a pixel; null: nobody said", "µm"),
            Column("picture", pl.String, "WebP (base64): a row of cells for each stain, grey"),
            Column("outlines", pl.String, "PNG (base64): a row of the cells' outlines"),
        ),
        native=False,
    ),
    Table(
        "treatments",
        "study",
        "One row per treatment, variant and retrieval evaluator: how well its replicates find each other.",
        ("study", "variant", "evaluator", "treatment"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("treatment", pl.String, "treatment, or target where targets are matched"),
            Column("mAP", pl.Float64, "mean over the replicates' average precision"),
            Column("chance", pl.Float64, "what random ranking gives in the mean"),
            Column("normalised_AP", pl.Float64, "(AP - chance) / (1 - chance), mean over replicates"),
            Column("p_value", pl.Float64, "share of exchanges of its wells with rivals that are at least as good"),
            Column("p_least", pl.Float64, "the smallest p_value that its wells and rivals allow"),
            Column("q_value", pl.Float64, "Benjamini-Hochberg over the treatments"),
            Column("retrieved", pl.Boolean, "q-value under the threshold"),
            Column("n_profiles", pl.Int32, "replicates that were queries"),
            Column("n_positives", pl.Float64, "partners of a query, mean"),
            Column("n_total", pl.Float64, "partners and controls of a query, mean"),
            ENCODER_SAW,
        ),
    ),
    Table(
        "treatment_scores",
        "study",
        "One row per treatment (or label), variant, evaluator and score: which ones replicate, or stand out. What "
        "retrieval finds of a treatment stands in `treatments`.",
        ("study", "variant", "evaluator", "treatment", "score"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("treatment", pl.String, "treatment, or label where labels are matched"),
            Column(
                "score", pl.String, "the score, such as similarity, replicates (1: yes), grit or NSC; docs/profiles.md"
            ),
            Column("value", pl.Float64, "its value"),
            Column("chance", pl.Float64, "what chance gives in the mean"),
            ENCODER_SAW,
        ),
    ),
    Table(
        "potencies",
        "study",
        "One row per compound, variant and potency evaluator: at which dose it acts, and how sure that is.",
        ("study", "variant", "evaluator", "treatment"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("treatment", pl.String, "compound, over its doses"),
            Column("wells", pl.Int32, "wells with a dose", "wells"),
            Column("doses", pl.Int32, "different doses"),
            Column("lowest_dose", pl.Float64, "lowest tested dose", "of the platemap"),
            Column("highest_dose", pl.Float64, "highest tested dose", "of the platemap"),
            Column("active", pl.Boolean, "responses follow the dose and pass the benchmark; null: could not be asked"),
            Column("potent", pl.Boolean, "active, with a benchmark dose among the tested doses"),
            Column("ec50", pl.Float64, "dose of half the plateau; null where not active", "of the platemap"),
            Column("ec50_low", pl.Float64, "lower end of its 95 % interval; null: not bounded", "of the platemap"),
            Column("ec50_high", pl.Float64, "upper end of its 95 % interval; null: not bounded", "of the platemap"),
            Column("benchmark_dose", pl.Float64, "dose of the benchmark response", "of the platemap"),
            Column(
                "benchmark_dose_low", pl.Float64, "lower end of its 95 % interval; null: not bounded", "of the platemap"
            ),
            Column(
                "benchmark_dose_high",
                pl.Float64,
                "upper end of its 95 % interval; null: not bounded",
                "of the platemap",
            ),
            Column("top", pl.Float64, "plateau of the curve", "SD of controls"),
            Column("slope", pl.Float64, "Hill slope of the curve"),
            Column("highest_response", pl.Float64, "the curve at the highest tested dose", "SD of controls"),
            Column("p_value", pl.Float64, "share of shuffled doses that fit a curve at least as well"),
            Column("q_value", pl.Float64, "Benjamini-Hochberg over the compounds"),
            Column("flags", pl.String, "what speaks against it, or why there is no curve; docs/planning.md"),
        ),
    ),
    Table(
        "dose_responses",
        "study",
        "One row per compound, dose, variant and potency evaluator: how far its wells are from the controls.",
        ("study", "variant", "evaluator", "treatment", "dose"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("treatment", pl.String, "compound, over its doses"),
            Column("dose", pl.Float64, "dose", "of the platemap"),
            Column("wells", pl.Int32, "wells behind it", "wells"),
            Column("response", pl.Float64, "mean distance beyond a typical control", "SD of controls"),
            Column("spread", pl.Float64, "standard deviation over the wells; null for one", "SD of controls"),
            Column("lowest", pl.Float64, "lowest of the wells", "SD of controls"),
            Column("highest", pl.Float64, "highest of the wells", "SD of controls"),
        ),
    ),
    Table(
        "metrics",
        "study",
        "One row per score, beside it what chance gives: the one surface on which methods are compared.",
        ("study", "variant", "evaluator", "scope", "metric"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "who measured"),
            Column(
                "scope",
                pl.String,
                "overall; the plate or channel the score is about; or `against` and the variant before the "
                "step, where it is the mean difference over treatments",
            ),
            Column("metric", pl.String, "the score"),
            Column("value", pl.Float64, "its value"),
            Column("chance", pl.Float64, "what chance or a trivial baseline gives"),
            Column("ci_low", pl.Float64, "lower end of the 95 % interval over treatments"),
            Column("ci_high", pl.Float64, "upper end of the 95 % interval over treatments"),
            Column("p_value", pl.Float64, "probability of the value under chance"),
            Column("n", pl.Int64, "treatments (or other units) behind it"),
            Column("at_least", pl.Float64, "bound that the value must reach; of checks against known truth only"),
            Column("at_most", pl.Float64, "bound that the value must not pass; likewise"),
            Column("holds", pl.Boolean, "whether it keeps its bound, or raises no flag; null where it has neither"),
            Column("note", pl.String, "what has to be known to read the score; null: nothing"),
            ENCODER_SAW,
        ),
    ),
    Table(
        "clusters",
        "study",
        "One row per treatment, variant and evaluator that groups: its cluster, and its place among its like.",
        ("study", "variant", "evaluator", "treatment"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("treatment", pl.String, "treatment"),
            Column("cluster", pl.Int32, "its cluster, numbered along the leaves of a tree, else by size"),
            Column(
                "place",
                pl.Int32,
                "its place, from 1: among the leaves of a tree, else clusters together, the most typical of each first",
            ),
        ),
    ),
    Table(
        "cluster_descriptions",
        "study",
        "What clusters of treatments have more of than others: values of the metadata, and telling features.",
        ("study", "variant", "evaluator", "cluster", "kind", "name", "value"),
        (
            STUDY,
            Column("variant", pl.String, "feature space and step of correction, or a baseline"),
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("cluster", pl.Int32, "number of the cluster, 1 the largest"),
            Column("treatments", pl.Int32, "treatments in the cluster"),
            Column("kind", pl.String, "value (of a column of the metadata) or feature"),
            Column("name", pl.String, "the column or the feature"),
            Column("value", pl.String, "the value; empty of a feature"),
            Column("inside", pl.Int32, "treatments of the cluster that have the value; of a feature all"),
            Column("outside", pl.Int32, "treatments of other clusters that have it; of a feature all"),
            Column(
                "effect",
                pl.Float64,
                "of a value the odds ratio; of a feature the chance that a member is above a "
                "treatment of another cluster",
            ),
            Column("p_value", pl.Float64, "Fisher's exact, or Mann-Whitney; null of features that made the clusters"),
            Column("q_value", pl.Float64, "Benjamini-Hochberg over all values, or features, and clusters"),
        ),
    ),
    Table(
        "planted_and_found",
        "study",
        "One row per check against known truth and unit (site, treatment, well …); empty for real plates.",
        ("study", "evaluator", "check", "unit"),
        (
            STUDY,
            Column("evaluator", pl.String, "name of the evaluator in the study"),
            Column("check", pl.String, "the check, as `metric` of metrics; docs/truth.md"),
            Column("unit", pl.String, "what was looked at"),
            Column("planted", pl.Float64, "what the simulator put there"),
            Column("found", pl.Float64, "what the platform saw of it"),
        ),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}


def table(name: str) -> Table:
    """The declaration of a table. Raises LakeError for an unknown name, listing the known ones."""
    if name not in TABLES:
        raise LakeError(f"no table {name!r}; the lake has {sorted(TABLES)}")
    return TABLES[name]
