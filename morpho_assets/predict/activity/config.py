"""What the activity of a study is: assays, compounds, modalities, splits, models, and how they are joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.predict.activity.assays import AssaysConfig
from morpho_assets.predict.activity.fusion import Rule
from morpho_assets.predict.activity.models import LogisticModel, ModelOfAssays
from morpho_assets.predict.activity.overlap import THRESHOLDS
from morpho_assets.predict.activity.structures import Fingerprint

_M = TypeVar("_M", bound=BaseModel)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CompoundsFile(_Model):
    """A table of compounds. Columns that it lacks are left empty; those beside these are not read."""

    file: str = Field(description="CSV, TSV, workbook or Parquet, from the folder of the settings")
    compound: str = Field(default="compound", description="column of the compound's id")
    name: str = Field(default="name", description="column of its name")
    smiles: str = Field(default="smiles", description="column of its structure")
    inchikey: str = Field(default="inchikey", description="column of its InChIKey; where empty that of the structure")
    plate: str = Field(default="plate", description="column of its plate")
    well: str = Field(default="well", description="column of its well")
    batch: str = Field(default="batch", description="column of its batch")
    cell_count: str = Field(default="cell_count", description="column of its number of cells")


class StructureModality(_Model):
    """Fingerprints of the compounds' structures, or descriptors."""

    of: Literal["structure"] = Field(description="the source")
    fingerprint: Fingerprint | Literal["descriptors"] = Field(default="morgan", description="the numbers")
    bits: int = Field(default=2048, ge=16, description="length of the fingerprint")
    radius: int = Field(default=2, ge=0, description="radius of Morgan's fingerprint")


class SpaceModality(_Model):
    """A feature space of the study after its last correction: the median over each compound's wells."""

    of: Literal["space"] = Field(description="the source")
    space: str = Field(description="name of the space")


class TableModality(_Model):
    """A table of vectors by compound: a user's own, or of another experiment."""

    of: Literal["table"] = Field(description="the source")
    file: str = Field(description="CSV, TSV, workbook or Parquet, from the folder of the settings")
    compound: str = Field(default="compound", description="column that names the compound")
    by: Literal["auto", "id", "inchikey", "name"] = Field(default="auto", description="as of the assays")
    prefixes: tuple[str, ...] = Field(default=(), description="starts of the columns taken; none: all numbers")


class PredictionsModality(_Model):
    """Chances that were predicted elsewhere (a graph network's), held out there by the same folds: a row per compound
    and assay, or a column per assay. They are scored and fused, and never learned from."""

    of: Literal["predictions"] = Field(description="the source")
    file: str = Field(description="CSV, TSV, workbook or Parquet, from the folder of the settings")
    compound: str = Field(default="compound", description="column that names the compound")
    by: Literal["auto", "id", "inchikey", "name"] = Field(default="auto", description="as of the assays")
    assay: str = Field(default="assay", description="long: column that names the assay")
    value: str = Field(default="probability", description="long: column of the chance, from 0 to 1")


ModalityConfig = Annotated[
    StructureModality | SpaceModality | TableModality | PredictionsModality, Field(discriminator="of")
]


class CompoundSplit(_Model):
    """Folds of compounds. `scaffold`: whole scaffolds; `batch`: whole batches; `cluster`: clusters of equal size of a
    modality; `random`: none kept whole."""

    by: Literal["scaffold", "batch", "cluster", "random"] = Field(default="scaffold", description="see above")
    folds: int = Field(default=5, ge=2, description="number of folds")
    of: str | None = Field(default=None, description="cluster: the modality")
    seed: int = Field(default=0, ge=0, description="seed of random folds and of clusters")

    @property
    def words(self) -> str:
        return f"by {self.by}" + (f" of {self.of}" if self.of else "")


class FusionConfig(_Model):
    """How modalities are joined: every pair, and all where there are more."""

    late: tuple[Rule | Literal["stacked"], ...] = Field(
        default=("noisy_or", "max", "mean", "stacked"), min_length=1,
        description="rules of late fusion; the first of all modalities ranks compounds",
    )  # fmt: skip
    calibrated: bool = Field(default=True, description="rules take calibrated chances; published: as models give them")
    early: bool = Field(default=True, description="models of features side by side, each modality of the same scale")
    merger: bool = Field(default=True, description="chance and similarity to training actives, learned (structure)")


class ActivityConfig(_Model):
    """What structure, morphology and other modalities predict of assays, alone and together."""

    assays: AssaysConfig = Field(description="the outcomes")
    compounds: CompoundsFile | None = Field(default=None, description="a table; null: those of the study's plates")
    modalities: dict[str, ModalityConfig] = Field(min_length=1, description="modalities by name")
    splits: tuple[CompoundSplit, ...] = Field(
        default=(CompoundSplit(), CompoundSplit(by="random")), min_length=1,
        description="folds by which models are tested; the first decides",
    )  # fmt: skip
    model: ModelOfAssays = Field(default=LogisticModel(), description="the model of every modality and fusion")
    also: tuple[ModelOfAssays, ...] = Field(default=(), description="models beside it, of each modality alone")
    fusion: FusionConfig = Field(default=FusionConfig(), description="how modalities are joined")
    least: int = Field(default=10, ge=2, description="fewest active and fewest inactive compounds of an assay")
    thresholds: tuple[float, ...] = Field(default=THRESHOLDS, min_length=1, description="AUROCs that count assays")
    draws: int = Field(default=200, ge=20, description="resamples of whole units, for intervals")
    seed: int = Field(default=0, ge=0, description="seed of shuffled labels and resamples")

    @model_validator(mode="after")
    def _named_modalities_are_there(self) -> ActivityConfig:
        for split in self.splits:
            if (split.by == "cluster") != (split.of is not None):
                raise ValueError("splits: a split by cluster names a modality in `of`, and no other does")
            if split.of is not None and split.of not in self.modalities:
                raise ValueError(f"splits: no modality {split.of!r}; there are {', '.join(self.modalities)}")
        return self

    @property
    def files(self) -> list[str]:
        """The files that it reads."""
        named = [self.assays.file, self.compounds.file if self.compounds else None]
        named += [getattr(each, "file", None) for each in self.modalities.values()]
        return [file for file in named if file is not None]

    @property
    def of_spaces(self) -> bool:
        """Whether a modality is a feature space of the study."""
        return any(isinstance(each, SpaceModality) for each in self.modalities.values())

    def located(self, place: Callable[[str], str]) -> ActivityConfig:
        """The same with `place` of each file."""

        def moved(part: _M) -> _M:
            file = getattr(part, "file", None)
            return part if file is None else part.model_copy(update={"file": place(file)})

        return self.model_copy(update={
            "assays": moved(self.assays), "compounds": moved(self.compounds) if self.compounds else None,
            "modalities": {name: moved(each) for name, each in self.modalities.items()},
        })  # fmt: skip
