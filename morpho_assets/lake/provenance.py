"""What made a partition: written into its Parquet file, so that data and provenance can never part.

A partition's `fingerprint` changes when its settings, its stage's code version or any of its inputs change, and with
nothing else: no times, no host names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from pydantic import BaseModel

KEY = "morpho_assets.provenance"


def digest(value: object) -> str:
    """A stable sha256 (hex) of anything JSON can hold; pydantic models count as their fields."""

    def plain(item: object) -> object:
        if isinstance(item, BaseModel):
            return item.model_dump(mode="json")
        raise TypeError(f"cannot digest {type(item).__name__}")

    return hashlib.sha256(json.dumps(value, sort_keys=True, default=plain).encode()).hexdigest()


@dataclass(frozen=True)
class Provenance:
    """Who made a partition (`stage`, its `code_version`), how (`settings`, a digest that covers those of the stages
    before it) and from what (`inputs`: name to fingerprint)."""

    stage: str
    code_version: str
    settings: str
    inputs: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that name this way of making from these inputs."""
        return digest(asdict(self))[:16]

    def including(self, name: str, content: object) -> Provenance:
        """The same with one more input: the digest of what was only known after the work, such as checksums."""
        return replace(self, inputs={**self.inputs, name: digest(content)[:16]})

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "fingerprint": self.fingerprint}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Provenance:
        fields = json.loads(text)
        fields.pop("fingerprint", None)
        return cls(**fields)
