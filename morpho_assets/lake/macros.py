"""The catalog's macros: the commonest questions as functions of SQL, which any DuckDB client calls.

A macro finds its tables by name: where the catalog is attached beside another database, `USE` it first.
"""

from __future__ import annotations

from dataclasses import dataclass

from morpho_assets.lake.tables import TABLES

FEATURES = "lambda c: NOT starts_with(c, 'Metadata_') AND c NOT IN ({})"
"""Which columns of a table of profiles are features, as COLUMNS takes it; the declared columns are put in."""


@dataclass(frozen=True)
class Macro:
    """A table macro: its name with its parameters, what it gives, and the query behind it."""

    name: str
    parameters: str
    about: str
    query: str

    @property
    def statement(self) -> str:
        return f'CREATE OR REPLACE MACRO "{self.name}"({self.parameters}) AS TABLE {self.query}'


_ALIKE = """
SELECT a.study AS study, a.space AS space, a.treatment AS treatment, b.treatment AS neighbour,
    sum(a.value * b.value) / nullif(sqrt(sum(a.value ** 2) * sum(b.value ** 2)), 0) AS cosine, count(*) AS features
FROM numbers AS a JOIN numbers AS b ON a.study = b.study AND a.space = b.space AND a.feature = b.feature
WHERE (a.treatment = compound OR starts_with(a.treatment, compound || '@')) AND b.treatment <> a.treatment
GROUP BY a.study, a.space, a.treatment, b.treatment
"""
_NUMBERS = """
UNPIVOT (SELECT study, space, treatment, COLUMNS({features}) FROM treatment_profiles)
ON COLUMNS(* EXCLUDE (study, space, treatment)) INTO NAME feature VALUE value
"""
_NO_NUMBERS = """
SELECT study, space, treatment, CAST(NULL AS VARCHAR) AS feature, CAST(NULL AS FLOAT) AS value
FROM treatment_profiles WHERE false
"""


def macros(has_features: bool) -> tuple[Macro, ...]:
    """The macros of a catalog, whose `treatment_profiles` has a column of features or, without a study, none."""
    declared = ", ".join(f"'{column.name}'" for column in TABLES["treatment_profiles"].columns)
    numbers = _NUMBERS.format(features=FEATURES.format(declared)) if has_features else _NO_NUMBERS
    return (
        Macro(
            "nearest", "compound, how_many := 10",
            "The treatments most like one, by cosine of their consensus profiles, in each space of each study: of a "
            "treatment, or of all doses of a compound.",
            f"WITH numbers AS ({numbers}), alike AS ({_ALIKE}) FROM alike QUALIFY row_number() OVER "
            "(PARTITION BY study, space, treatment ORDER BY cosine DESC NULLS LAST, neighbour) <= how_many "
            "ORDER BY study, space, treatment, cosine DESC NULLS LAST, neighbour",
        ),
        Macro(
            "plate_map", "feature, plate",
            "A number of every well of a plate, such as Metadata_Count_Cells or a feature, as measured.",
            "SELECT Metadata_Row AS plate_row, Metadata_Col AS plate_column, Metadata_Well AS well, "
            "Metadata_Perturbation AS treatment, CAST(COLUMNS(lambda c: c = feature) AS DOUBLE) AS value "
            "FROM well_profiles WHERE Metadata_Plate = plate ORDER BY plate_row, plate_column",
        ),
        Macro(
            "hits", "in_space",
            "The treatments that a study retrieves in a variant (a space, or a space after its last step), best first.",
            "SELECT study, evaluator, treatment, mAP, chance, p_value, q_value, n_profiles FROM treatments "
            "WHERE variant = in_space AND retrieved ORDER BY study, evaluator, q_value, mAP DESC, treatment",
        ),
    )  # fmt: skip
