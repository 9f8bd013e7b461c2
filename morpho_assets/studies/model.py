"""What a study is: the plates it names, its feature spaces, encoders, corrections and evaluators; one YAML each.

Shipped studies lie beside this module; a user's own lie in the folder that the settings name, and win over shipped
ones of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import evaluator_config
from morpho_assets.learn.attribution import AttributionConfig
from morpho_assets.learn.kinds import STARTED, UNTRAINED, EncoderConfig, twins_of
from morpho_assets.learn.sets import MEDIAN, SetConfig, twins_of_set
from morpho_assets.predict.activity.config import ActivityConfig, SpaceModality
from morpho_assets.predict.config import PhenotypeConfig
from morpho_assets.predict.labels import DrawnLabels, PointLabels
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.correct import CorrectorConfig
from morpho_assets.profiles.recipe import recipe_names
from morpho_assets.profiles.space import (
    SpaceConfig,
    TableSpace,
    require_encoders,
    require_known,
    require_phenotypes,
    require_sets,
    space_levels,
)
from morpho_assets.profiles.study import tuning_share
from morpho_assets.settings import resolved
from morpho_assets.yaml_files import read_yaml

SHIPPED = Path(__file__).parent


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectionConfig(_Model):
    """The maps of each space."""

    methods: tuple[Literal["umap", "tsne"], ...] = Field(
        ("umap",), min_length=1, description="maps that are drawn, side by side: umap, tsne"
    )
    seed: int = Field(0, ge=0, description="seed of the layout")


class Study(_Model):
    """A question asked of some plates. `name` is the file's name."""

    name: str = Field(description="name of the study, which is its partition")
    title: str = Field(description="title of the report")
    about: str = Field("", description="a paragraph for the report: what is asked, of what")
    plates: Literal["all"] | tuple[str, ...] = Field("all", description="barcodes, or all plates with profiles")
    encoders: dict[str, EncoderConfig] = Field(
        default_factory=dict, description="encoders by the name of their space; each gets an untrained twin beside it"
    )
    sets: dict[str, SetConfig] = Field(
        default_factory=dict, description="heads over the cells of wells, by the name of their space"
    )
    attributions: dict[str, AttributionConfig] = Field(
        default_factory=dict, description="where encoders look, by name: heat maps of their windows"
    )
    phenotypes: dict[str, PhenotypeConfig] = Field(
        default_factory=dict, description="phenotypes of cells by name: models learned from labels"
    )
    activity: ActivityConfig | None = Field(None, description="what modalities predict of assays")
    spaces: dict[str, SpaceConfig] = Field(description="feature spaces by name")
    corrections: tuple[CorrectorConfig, ...] = Field((), description="correctors, each applied to what the last left")
    consensus: ConsensusConfig = Field(
        ConsensusConfig(), description="wells to treatments, or to treatments and batches: table treatment_profiles"
    )
    projection: ProjectionConfig = Field(ProjectionConfig(), description="maps of the wells")
    evaluators: dict[str, dict[str, Any]] = Field(description="evaluators by name: `evaluator` and its settings")
    shuffles: int = Field(
        10, ge=1, description="draws of shuffled treatments, whose mean stands beside every score of a space"
    )
    seed: int = Field(0, ge=0, description="seed of evaluation")

    @property
    def tuning_share(self) -> float | None:
        """The share of treatments that sweeps choose on, and that are not reported; None without a sweep."""
        return tuning_share(self.spaces, self.corrections)

    @model_validator(mode="before")
    @classmethod
    def _twins(cls, value: Any) -> Any:
        """Each encoder's twins, untrained and as it started, and a space of each beside each space of the encoder: they
        need not be written. Nor need the unit of a space's encoder.

        What is there under the name of a twin stays as it is.
        """
        parts = ("encoders", "sets", "spaces")
        if not isinstance(value, dict) or not all(isinstance(value.get(part, {}), dict) for part in parts):
            return value  # the fields' own validators say what is wrong
        sets: dict[str, Any] = {}
        for name, each in value.get("sets", {}).items():
            sets[name] = each
            plain = dict(each) if isinstance(each, BaseModel | dict) else {}
            for ending, twin in twins_of_set(plain).items():
                sets[f"{name}{ending}"] = value["sets"].get(f"{name}{ending}", twin)
        encoders: dict[str, Any] = {}
        for name, encoder in value.get("encoders", {}).items():
            encoders[name] = encoder
            plain = dict(encoder) if isinstance(encoder, BaseModel | dict) else {}
            for ending, twin in twins_of(plain).items():
                encoders[f"{name}{ending}"] = value["encoders"].get(f"{name}{ending}", twin)
        spaces: dict[str, Any] = {}
        for name, space in value.get("spaces", {}).items():
            plain = dict(space) if isinstance(space, BaseModel | dict) else {}
            spaces[name] = _of_unit(name, space, encoders)
            for ending in (UNTRAINED, STARTED):
                twin_of = f"{plain.get('encoder') or name}{ending}"
                if plain.get("of") == "embedding" and twin_of in encoders:
                    beside = _of_unit(name, {**plain, "encoder": twin_of}, encoders)
                    spaces[f"{name}{ending}"] = value["spaces"].get(f"{name}{ending}", beside)
            for ending in (UNTRAINED, STARTED, MEDIAN):
                twin_of = f"{plain.get('set') or name}{ending}"
                if plain.get("of") == "set" and twin_of in sets:
                    spaces[f"{name}{ending}"] = value["spaces"].get(f"{name}{ending}", {**plain, "set": twin_of})
        found = {**value, "encoders": encoders, "sets": sets}
        return {**found, "spaces": spaces} if "spaces" in value else found

    @field_validator("evaluators")
    @classmethod
    def _known_evaluators(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for settings in value.values():
            evaluator_config(settings)
        return value

    @model_validator(mode="after")
    def _sweeps_agree(self) -> Study:
        tuning_share(self.spaces, self.corrections)
        return self

    @model_validator(mode="after")
    def _spaces_can_be_made(self) -> Study:
        space_levels(self.spaces)
        units = {name: encoder.unit for name, encoder in self.encoders.items()}
        require_encoders(self.spaces, units)
        require_sets(self.spaces, list(self.sets))
        require_phenotypes(self.spaces, list(self.phenotypes))
        of_cells = [name for name, unit in units.items() if unit == "cell"]
        for name, each in self.sets.items():
            if each.encoder is not None:
                require_known(f"sets.{name}.encoder", each.encoder, of_cells, "encoder of cells")
            elif not each.features:
                raise InputError("study", f"sets.{name}", "neither an encoder nor features", "one of them or both",
                                 "Name an `encoder`, or leave `features` out.")  # fmt: skip
        for name, attribution in self.attributions.items():
            require_known(f"attributions.{name}", attribution.encoder or name, list(units), "encoder")
        for name, phenotype in self.phenotypes.items():
            for encoder in phenotype.features.encoders:
                require_known(f"phenotypes.{name}.features.encoders", encoder, of_cells, "encoder of cells")
        for name, modality in self.activity.modalities.items() if self.activity else ():
            if isinstance(modality, SpaceModality):
                require_known(f"activity.modalities.{name}.space", modality.space, list(self.spaces), "space")
        return self


def _of_unit(name: str, space: Any, encoders: Mapping[str, Any]) -> Any:
    """A space of an embedding with the unit of its encoder, where it does not say one itself."""
    if not isinstance(space, dict) or space.get("of") != "embedding" or "unit" in space:
        return space
    encoder = encoders.get(str(space.get("encoder") or name))
    unit = encoder.get("unit") if isinstance(encoder, dict) else getattr(encoder, "unit", None)
    return space if unit is None else {**space, "unit": unit}


def study_files(folder: Path) -> dict[str, Path]:
    """Every study's name and file: the shipped ones and those of a user's folder, which need not exist."""
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}
    return shipped | {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_study(name: str, folder: Path, root: Path | None = None) -> Study:
    """A study by name; the files that it names lie where they do seen from `root`, the settings file's folder.

    Raises InputError for an unknown study, listing the known, and for a key that does not fit.
    """
    files = study_files(folder)
    if name not in files:
        raise InputError(folder, "", f"no study {name!r}", f"one of {', '.join(files)}", "Check the name or write it.")
    try:
        study = read_yaml(Study, files[name])
    except InputError as error:
        if error.file != "study":
            raise
        raise InputError(files[name], error.where, error.found, error.expected, error.do) from None
    if study.name != name:
        raise InputError(files[name], "key name", study.name, name, "Name the study as its file.")
    return study if root is None else _located(study, root)


def _located(study: Study, root: Path) -> Study:
    """The study with the places of its files (label images, recipes, weights of one's own) as they are meant."""
    evaluators = {name: _evaluator_located(settings, root) for name, settings in study.evaluators.items()}
    encoders = {name: _encoder_located(encoder, root) for name, encoder in study.encoders.items()}
    spaces = {name: _space_located(space, root) for name, space in study.spaces.items()}
    phenotypes = {name: _phenotype_located(phenotype, root) for name, phenotype in study.phenotypes.items()}
    located = {"evaluators": evaluators, "spaces": spaces, "encoders": encoders, "phenotypes": phenotypes}
    if study.activity is not None:
        located["activity"] = study.activity.located(lambda file: resolved(file, root))
    return study.model_copy(update=located)


def _encoder_located(encoder: EncoderConfig, root: Path) -> EncoderConfig:
    path = getattr(encoder, "path", None)
    return encoder if path is None else encoder.model_copy(update={"path": resolved(path, root)})


def _phenotype_located(phenotype: PhenotypeConfig, root: Path) -> PhenotypeConfig:
    labels = phenotype.labels
    if not isinstance(labels, PointLabels | DrawnLabels):
        return phenotype
    return phenotype.model_copy(update={"labels": labels.model_copy(update={"file": resolved(labels.file, root)})})


def _evaluator_located(settings: dict[str, Any], root: Path) -> dict[str, Any]:
    if settings["evaluator"] == "segmentation":
        return {**settings, "folder": resolved(str(settings.get("folder") or "."), root)}
    if settings["evaluator"] == "relationships" and settings.get("pairs"):
        return {**settings, "pairs": resolved(str(settings["pairs"]), root)}
    return settings


def _space_located(space: SpaceConfig, root: Path) -> SpaceConfig:
    files = {"recipe": space.recipe} if space.recipe is not None and space.recipe not in recipe_names() else {}
    if isinstance(space, TableSpace):
        files["file"] = space.file
    return space.model_copy(update={key: resolved(file, root) for key, file in files.items()}) if files else space
