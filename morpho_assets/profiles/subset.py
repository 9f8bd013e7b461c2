"""Features chosen by what their names say: compartment, module, channel, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict, Field, field_validator

from morpho_assets.errors import InputError
from morpho_assets.lake.tables import MODULES

_MODULE = re.compile(rf"_({'|'.join(MODULES)})_")
_STAINED = re.compile(r"_Intensity_(?:Mean|Integrated)Intensity_(.+)$")


class SubsetConfig(BaseModel):
    """Features that pass every condition that is set; one that is left empty asks for nothing.

    `{modules: [AreaShape], without: Zernike}` are the shapes without Zernike's moments, `{channels: [DNA]}` what was
    measured on DNA alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    compartments: tuple[str, ...] = Field(default=(), description="Nuclei, Cells, Cytoplasm or other objects")
    modules: tuple[str, ...] = Field(default=(), description="modules of CellProfiler: AreaShape, Texture …")
    channels: tuple[str, ...] = Field(
        default=(), description="features of these channels and no other; those of several need all of theirs"
    )
    unstained: bool = Field(
        default=False, description="with `channels`, also features of no channel, such as AreaShape and Neighbors"
    )
    matching: str | None = Field(default=None, description="regular expression that is found in the name")
    without: str | None = Field(default=None, description="regular expression that is not found in the name")

    @field_validator("matching", "without")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return value


def subset(features: Sequence[str], config: SubsetConfig) -> list[str]:
    """The features that `config` asks for, in the order given.

    A feature's compartment is what stands before its module (Cells_AreaShape_Area), else before the first underscore.
    Channels are what intensities are measured on, and the ones that are asked for; a feature is of those that stand in
    its name between underscores. InputError where nothing is left, and for a compartment, module or channel that no
    feature has.
    """
    channels = channels_of(features) | set(config.channels)
    parts: tuple[tuple[str, Sequence[str], Callable[[str], set[str]]], ...] = (
        ("compartments", config.compartments, lambda name: {_compartment(name)}),
        ("modules", config.modules, lambda name: set(_MODULE.findall(name)[:1])),
        ("channels", config.channels, lambda name: _channels(name, channels)),
    )
    kept = list(features)
    for key, asked, of in parts:
        if not asked:
            continue
        named = {name: of(name) for name in features}
        known = set().union(*named.values())
        for value in asked:
            if value not in known:
                near = get_close_matches(value, sorted(known), 1)
                todo = f"Did you mean {near[0]}?" if near else "Correct the name."
                shown = ", ".join(sorted(known)) or "features that name any"
                raise InputError("spaces", f"subset, {key}", f"{value}, which no feature has", f"of {shown}", todo)
        bare = key == "channels" and config.unstained
        kept = [name for name in kept if (named[name] and named[name] <= set(asked)) or (bare and not named[name])]
    if config.matching is not None:
        kept = [name for name in kept if re.search(config.matching, name)]
    if config.without is not None:
        kept = [name for name in kept if not re.search(config.without, name)]
    if not kept:
        asked = ", ".join(f"{name} {value}" for name, value in config if value not in ((), None, False))
        raise InputError("spaces", "subset", f"none of {len(features)} features with {asked}", "features that stay",
                         "Ask for less at a time.")  # fmt: skip
    return kept


def channels_of(features: Sequence[str]) -> set[str]:
    """The channels whose mean or integrated intensity is among the features."""
    return {found[1] for name in features if (found := _STAINED.search(name))}


def _compartment(name: str) -> str:
    module = _MODULE.search(name)
    return name[: module.start()] if module else name.partition("_")[0]


def _channels(name: str, channels: set[str]) -> set[str]:
    return {channel for channel in channels if f"_{channel}_" in f"{name}_"}
