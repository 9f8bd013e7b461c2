"""The settings file (`morpho.yaml`): where plates come from, how they are processed, where results go.

Each stage declares its own config model; this module only joins them. Paths are relative to the settings file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from morpho_assets.compute import Compute, ComputeConfig
from morpho_assets.errors import InputError
from morpho_assets.gallery.images import ImagesConfig
from morpho_assets.gallery.sources import Source
from morpho_assets.imaging.illumination import IlluminationConfig
from morpho_assets.imaging.quality import QualityConfig
from morpho_assets.imaging.segmentation import (
    CellposeConfig,
    ExternalConfig,
    NetworkConfig,
    SegmentationConfig,
    WatershedConfig,
)
from morpho_assets.imaging.segmentation.config import CellsConfig
from morpho_assets.measure.config import PROFILES, MeasurementConfig
from morpho_assets.measure.config import resolve as measurement_profile
from morpho_assets.profiles.plate import ProfilesConfig
from morpho_assets.yaml_files import read_yaml


class BackfillConfig(BaseModel):
    """The schedule that fills in plates which have no profiles yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: str = Field("0 2 * * *", description="when, as a cron expression")
    plates: int = Field(4, ge=1, description="plates started each time at most")


class Settings(BaseModel):
    """Everything that `morpho.yaml` can say. Every field but `sources` has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lake: str = Field("data/lake", description="root of the tables: a folder, or s3://bucket/prefix")
    lake_options: dict[str, Any] = Field(
        default_factory=dict, description="fsspec options of a lake in an object store", repr=False
    )
    catalog: str = Field("data/morpho.duckdb", description="the DuckDB database that is published")
    catalog_copy: str | None = Field(
        None,
        description="an object to which the catalog is copied when it is published, such as s3://bucket/morpho.duckdb",
    )
    reports: str = Field("data/reports", description="folder of the HTML reports")
    studies: str = Field("studies", description="folder of your studies, one YAML each; shipped ones need no folder")
    sources: tuple[Source, ...] = Field((), description="where plates come from")
    images: ImagesConfig = Field(ImagesConfig(), description="fetched images")
    illumination: IlluminationConfig = Field(IlluminationConfig(), description="illumination correction")
    quality: QualityConfig = Field(QualityConfig(), description="image quality and its flags")
    segmentation: SegmentationConfig = Field(WatershedConfig(), description="how nuclei and cells are found")
    measurement: MeasurementConfig = Field(PROFILES["jump"], description="what is measured: jump, core or modules")
    profiles: ProfilesConfig = Field(ProfilesConfig(), description="cells to wells, in units of the controls")
    failed_sites: float = Field(0.1, ge=0, le=1, description="share of failed sites above which a plate is stopped")
    compute: Compute = Field(ComputeConfig(), description="who processes sites")
    backfill: BackfillConfig = Field(BackfillConfig(), description="the nightly schedule")

    @field_validator("measurement", mode="before")
    @classmethod
    def _named_profile(cls, value: object) -> object:
        return measurement_profile(value) if isinstance(value, str) else value


def load_settings(file: Path) -> Settings:
    """Read and validate a settings file; relative paths become absolute. Raises InputError naming the key."""
    settings = read_yaml(Settings, file)
    root = file.resolve().parent

    def absolute(path: str) -> str:
        return resolved(path, root)

    _check_places(settings, file)
    sources = []
    for source in settings.sources:
        places = {name: getattr(source, name, None) for name in ("root", "path", "files", "platemaps", "metadata")}
        found = {name: absolute(place) for name, place in places.items() if place is not None}
        sources.append(source.model_copy(update=found))
    paths = {name: absolute(getattr(settings, name)) for name in ("lake", "catalog", "reports", "studies")}
    images = settings.images.model_copy(update={"folder": absolute(settings.images.folder)})
    segmentation = _located(settings.segmentation, root)
    return settings.model_copy(
        update={**paths, "sources": tuple(sources), "images": images, "segmentation": segmentation}
    )


def resolved(path: str, root: Path) -> str:
    """A path as it is meant: an address as it stands, `~` as the home folder, a relative one from `root`."""
    return path if "://" in path else str(root / Path(path).expanduser())


def _check_places(settings: Settings, file: Path) -> None:
    """Two sources of one name, and a catalog that is no local file, are errors: raises InputError."""
    names = [source.name for source in settings.sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        todo = "Give each source a name of its own: a plate remembers its source by it."
        raise InputError(file, "key sources", f"two sources named {twice}", "names that differ", todo)
    if "://" in settings.catalog:
        todo = "Name a local file; the lake itself may lie in an object store."
        raise InputError(file, "key catalog", settings.catalog, "a path on this machine", todo)
    if settings.catalog_copy is not None and "://" not in settings.catalog_copy:
        todo = "Name an object, or leave it out: the catalog itself is a file."
        raise InputError(file, "key catalog_copy", settings.catalog_copy, "s3://bucket/name.duckdb", todo)


def _located(config: SegmentationConfig, root: Path) -> SegmentationConfig:
    """The configuration with the places of its files as they are meant: label images, weights of one's own."""
    if not isinstance(config, ExternalConfig) and config.corrected is not None:
        folder = Path(resolved(str(config.corrected.folder or "."), root))
        config = config.model_copy(update={"corrected": config.corrected.model_copy(update={"folder": folder})})
    if isinstance(config, ExternalConfig):
        return config.model_copy(update={"folder": Path(resolved(str(config.folder or "."), root))})
    if isinstance(config, CellposeConfig):
        parts = {"nuclei": config.nuclei, "cells": config.cells}
        found = {
            name: part.model_copy(update={"model": resolved(part.model, root)})
            for name, part in parts.items()
            if hasattr(part, "model") and Path(resolved(part.model, root)).is_file()
        }
        return config.model_copy(update=found)
    if isinstance(config, NetworkConfig):
        own = {
            name: part.model_copy(update={"weights": Path(resolved(str(part.weights), root))})
            for name, part in (("nuclei", config.nuclei), ("cells", config.cells))
            if not isinstance(part, CellsConfig) and part.weights is not None
        }
        return config.model_copy(update=own)
    return config
