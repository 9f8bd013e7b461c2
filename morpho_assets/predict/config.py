"""What a phenotype of a study is: labels, features, a model, the questions it is tested by, and how it is called."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.predict.classifiers.kinds import ModelConfig
from morpho_assets.predict.classifiers.linear import ElasticNetConfig
from morpho_assets.predict.enriched import EnrichmentCallsConfig
from morpho_assets.predict.labels import LabelsConfig
from morpho_assets.predict.splits import SplitConfig
from morpho_assets.predict.transfer import ShiftConfig

PLACES = ("_Location_", "_Center_", "_BoundingBox", "ObjectNumber", "_Number_", "_Parent_", "_Children_")
"""Parts of names of measurements that say where a cell lies or which number it has, and so which image it is from."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CellFeaturesConfig(_Model):
    """The features of cells that a model sees: measurements, embeddings, or both, each a block of one length."""

    prefixes: tuple[str, ...] = Field(
        default=("Nuclei_", "Cells_", "Cytoplasm_"), description="starts of measurements; none: no measurement"
    )
    leave_out: tuple[str, ...] = Field(default=PLACES, description="parts of names that are left out")
    encoders: tuple[str, ...] = Field(default=(), description="encoders of the study whose embeddings are seen")
    scale: Literal["controls", "training"] = Field(
        default="controls",
        description="controls: each plate by its negative controls; training: all plates by the training cells",
    )
    shift: ShiftConfig | None = Field(
        default=None, description="keep features alone that look alike on labelled plates and on all others"
    )

    @model_validator(mode="after")
    def _something(self) -> CellFeaturesConfig:
        if not self.prefixes and not self.encoders:
            raise ValueError("neither measurements nor encoders: name one of them")
        return self


class PhenotypeConfig(_Model):
    """A model of cells: learned from labels, tested on images, wells or plates that it did not see, applied to every
    cell of the study, summed up by well, and called on treatments."""

    labels: LabelsConfig = Field(description="where labels come from")
    plates: Literal["all"] | tuple[str, ...] = Field(
        default="all", description="plates whose labels train; those of other plates test the final model"
    )
    features: CellFeaturesConfig = Field(default=CellFeaturesConfig(), description="features that the model sees")
    model: ModelConfig = Field(default=ElasticNetConfig(), description="the classifier")
    splits: tuple[SplitConfig, ...] = Field(
        default=(SplitConfig(by="well"), SplitConfig(by="random")),
        min_length=1,
        description="questions that the model is tested by; the first decides",
    )
    least: int = Field(
        default=2, ge=2, description="units of the first split that a class must lie in; others stand apart"
    )
    each_image: bool = Field(
        default=False,
        description="whether the true class is also ranked in every image by the model of all others, with the chosen "
        "settings (elastic_net and logistic)",
    )
    well: Literal["median", "mean"] = Field(default="median", description="the probability of a well, over its cells")
    calls: EnrichmentCallsConfig = Field(default=EnrichmentCallsConfig(), description="how treatments are called")
    seed: int = Field(default=0, ge=0, description="seed of shuffled features and intervals")

    @model_validator(mode="after")
    def _images_can_be_left_out(self) -> PhenotypeConfig:
        if self.each_image and not isinstance(self.model, ElasticNetConfig):
            raise ValueError("each_image needs a model of kind elastic_net or logistic")
        return self
