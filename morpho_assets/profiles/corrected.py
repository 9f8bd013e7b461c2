"""What a corrector gives back, and what correctors share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from morpho_assets.errors import InputError
from morpho_assets.profiles.rows import rows_where
from morpho_assets.profiles.tuning import SweepConfig

Matrix = npt.NDArray[np.float64]
Unseen = Literal["refuse", "accept"]
"""What a corrector does about directions that its reference rows do not span."""


@dataclass(frozen=True)
class Corrected:
    """`profiles` after a corrector, and the names of its feature columns (a rotation gives new ones).

    `notes` are sentences on what was chosen and which documented fallback was taken; `curve` is that of a sweep.
    """

    profiles: pl.DataFrame
    features: tuple[str, ...]
    notes: tuple[str, ...] = ()
    curve: pl.DataFrame | None = None


class CorrectorSettings(BaseModel):
    """Base of every corrector's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sweep: SweepConfig | None = Field(
        default=None, description="chooses one setting on tuning treatments; null: settings as they stand"
    )

    @property
    def reads_labels(self) -> bool:
        """Whether what it gives to a well depends on which wells have which treatment. A sweep does not count: it reads
        those of treatments that are then not reported."""
        return False

    @model_validator(mode="after")
    def _sweep_fits(self) -> Self:
        if self.sweep is not None:
            known = [name for name in type(self).model_fields if name not in ("corrector", "sweep")]
            if self.sweep.setting not in known:
                raise ValueError(f"sweep: no setting {self.sweep.setting!r}; known: {', '.join(known)}")
            for value in self.sweep.values:
                try:
                    self.at(value)
                except ValidationError as error:
                    raise ValueError(f"sweep: {self.sweep.setting} {value:g}: {error.errors()[0]['msg']}") from None
        return self

    def at(self, value: float) -> Self:
        """These settings with `value` for the one that is swept, and without the sweep. What the reference rows do not
        span is accepted: the sweep measures what that costs."""
        assert self.sweep is not None
        accepted = {"unseen": "accept"} if "unseen" in type(self).model_fields else {}
        return type(self).model_validate({
            **self.model_dump(exclude={"sweep"}), **accepted, self.sweep.setting: value,
        })  # fmt: skip

    def chosen(self, curve: pl.DataFrame) -> Self:
        """These settings with the value that scores best on tuning treatments, of equal ones the first; `curve` is that
        of the sweep."""
        assert self.sweep is not None
        return self.at(self.sweep.values[int(np.argmax(curve["tuning"].to_numpy()))])


def reference_rows(profiles: pl.DataFrame, on: str, least: int, corrector: str) -> npt.NDArray[np.intp]:
    """Row numbers where `on` holds; InputError when they are fewer than `least`."""
    rows = np.flatnonzero(rows_where(profiles, on).to_numpy())
    if rows.size < least:
        raise InputError("profiles", corrector, f"{rows.size} rows where {on}", f"at least {least}",
                         "Mark the controls in the plate map or fit on other rows with `reference`.")  # fmt: skip
    return rows
