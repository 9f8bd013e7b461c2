"""What travels with every export: where it comes from, the size of a pixel, objective, stains and licence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from morpho_assets.gallery.source import AboutConfig
from morpho_assets.lake.ledger import Commit

GALLERY_LICENCE = "CC0-1.0"
"""Of all data in the Cell Painting Gallery's bucket (its README: https://github.com/broadinstitute/cellpainting-gallery)."""


@dataclass(frozen=True)
class About:
    """What is known; what is not is None, and left out of `plain`. `pixel_size` is in µm."""

    title: str
    pixel_size: float | None = None
    objective: str | None = None
    stains: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None
    commits: tuple[Commit, ...] = ()

    @classmethod
    def of(
        cls, title: str, config: AboutConfig, pixel_size: float | None, gallery: bool, commits: Iterable[Commit] = ()
    ) -> About:
        """From the settings of a source, else from the images, else from the Gallery's terms."""
        licence = config.licence or (GALLERY_LICENCE if gallery else None)
        return cls(title, config.pixel_size or pixel_size, config.objective, config.stains, licence, tuple(commits))

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; `made_from` names the commits: stage and partition to number, digests and versions."""
        made = {
            f"{commit.stage} of {commit.partition}": {
                "commit": commit.number, "content": commit.content, "recipe": commit.recipe,
                "code_version": commit.code_version, "package_version": commit.package_version, "at": commit.at,
            }
            for commit in sorted(self.commits, key=lambda each: (each.partition, each.stage))
        }  # fmt: skip
        known = {
            "title": self.title, "pixel_size_um": self.pixel_size, "objective": self.objective,
            "stains": dict(self.stains) or None, "licence": self.licence, "made_from": made or None,
            "written_by": f"morpho-assets {version('morpho-assets')}",
        }  # fmt: skip
        return {name: value for name, value in known.items() if value is not None}

    def text(self) -> str:
        return json.dumps(self.plain(), ensure_ascii=False, indent=1)
