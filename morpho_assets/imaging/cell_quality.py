"""Implausible single cells: masks that no cell has, found by how far their measurements lie from the plate's."""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from morpho_assets.errors import InputError

MAD_TO_SD = 1.4826
FLAG = "flag_implausible"
REASONS = "implausible_in"


class CellRule(BaseModel):
    """A cell is implausible where this measurement's robust z lies below `low` or above `high`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature: str = Field(description="measurement, e.g. Cells_AreaShape_Area")
    low: float | None = Field(default=None, description="robust z below which a cell is implausible; none: no limit")
    high: float | None = Field(default=None, description="robust z above which a cell is implausible; none: no limit")
    log: bool = Field(default=False, description="judge the logarithm, for sizes and brightness that spread by factors")

    @model_validator(mode="after")
    def _limits_in_order(self) -> CellRule:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class CellQualityConfig(BaseModel):
    """Rules for single cells, and whether the cells they hit are left out of well profiles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[CellRule, ...] = Field(
        default=(
            CellRule(feature="Nuclei_AreaShape_Area", low=-5.0, high=5.0, log=True),
            CellRule(feature="Nuclei_AreaShape_FormFactor", low=-6.0),
            CellRule(feature="Cells_AreaShape_Area", low=-5.0, high=5.0, log=True),
            CellRule(feature="Nuclei_Intensity_MeanIntensity_DNA", low=-6.0, high=6.0, log=True),
        ),
        description="a cell that any rule hits is implausible",
    )
    within: tuple[str, ...] = Field(
        default=("Metadata_Plate",),
        description="Metadata columns of cells or wells within which z are computed; none: all cells of the plate",
    )
    least_cells: int = Field(
        default=50, ge=2, description="cells of a group from which z are computed; fewer flag nothing"
    )
    exclude: bool = Field(
        default=False, description="leave implausible cells out of well profiles (they stay in the table)"
    )


def flag_cells(
    cells: pl.LazyFrame | pl.DataFrame, config: CellQualityConfig | None = None
) -> pl.LazyFrame | pl.DataFrame:
    """Add the Boolean column `flag_implausible` to a single-cell frame, lazy or not, and `implausible_in`.

    z is the distance from the group's median in MAD x 1.4826; a constant or missing measurement flags nothing. A
    logarithm's z of a value of 0 or less lies below every `low`. `implausible_in` names the measurements that hit, with
    commas between; null of a plausible cell. Raises InputError where a rule's measurement or a column of `within` is
    not there.
    """
    config = config or CellQualityConfig()
    columns = cells.lazy().collect_schema().names()
    for rule in config.rules:
        if rule.feature not in columns:
            raise InputError(
                "cell_quality", "rules", f"feature {rule.feature!r}", "a measured column",
                "Correct the name, or drop the rule where the plate lacks this stain.",
            )  # fmt: skip
    for name in config.within:
        if name not in columns:
            known = ", ".join(column for column in columns if column.startswith("Metadata_"))
            raise InputError("cell_quality", "within", f"no column {name!r}", f"of {known}", "Correct the name.")
    hits = [(rule.feature, _hit(rule, list(config.within), config.least_cells)) for rule in config.rules]
    reasons = [pl.when(hit).then(pl.lit(feature)) for feature, hit in hits]
    named = pl.concat_str(reasons, separator=", ", ignore_nulls=True) if reasons else pl.lit(None, pl.String)
    flag = pl.any_horizontal(pl.lit(False), *(hit for _, hit in hits))
    return cells.with_columns(flag.alias(FLAG), pl.when(flag).then(named).alias(REASONS))


def _hit(rule: CellRule, within: list[str], least: int) -> pl.Expr:
    plain = pl.col(rule.feature).cast(pl.Float64)
    value = plain.log() if rule.log else plain
    value = pl.when(value.is_finite()).then(value)
    centre = _over(value.median(), within)
    mad = _over((value - centre).abs().median(), within) * MAD_TO_SD
    z = (value - centre) / mad
    z = pl.when(plain <= 0).then(-float("inf")).otherwise(z) if rule.log else z
    z = pl.when((_over(value.count(), within) >= least) & (mad > 0)).then(z)
    low = z < rule.low if rule.low is not None else pl.lit(False)
    high = z > rule.high if rule.high is not None else pl.lit(False)
    return (low | high).fill_null(False)


def _over(value: pl.Expr, within: list[str]) -> pl.Expr:
    return value.over(within) if within else value
