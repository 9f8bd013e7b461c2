"""What the values of each column were checked against: an outside oracle, the fields, the settings and the tolerance.

The tests run every check that is listed here, as it is listed, and find each column of the profile `jump` among them;
docs/measurements.md shows the list by family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

CELLPROFILER = "CellProfiler 4.2.8.1"
FIELDS = {
    "D14": "real, 1080 x 1080, 98 cells",
    "N09": "real, 1080 x 1080, 41 cells",
    "hard": "240 x 240, 20 objects such as lines, rings, single pixels, constant and saturated ones",
    "odd": "the hard objects on 233 x 239 pixels",
}
"""The fields with CellProfiler's own values on given label images."""


@dataclass(frozen=True)
class Check:
    """One family of columns against one oracle.

    columns: regular expression of their names. test: the test that runs the check. Values agree within `relative` or
    `absolute`. but: column to the most objects of one field that may disagree, with `because`.
    """

    family: str
    columns: str
    oracle: str
    fields: tuple[str, ...]
    settings: str
    test: str
    relative: float = 1e-4
    absolute: float = 1e-6
    but: Mapping[str, int] = field(default_factory=dict)
    because: str = ""

    def covers(self, column: str) -> bool:
        """Whether a column is of those that are checked."""
        return re.fullmatch(self.columns, column) is not None


def _cellprofiler(
    family: str, columns: str, settings: str, but: Mapping[str, int] | None = None, because: str = ""
) -> Check:
    test = "test_cellprofiler::test_values_are_those_of_cellprofiler"
    return Check(family, columns, CELLPROFILER, tuple(FIELDS), settings, test, but=but or {}, because=because)


def _cp_measure(family: str, columns: str, settings: str, test: str = "") -> Check:
    fields = ("synthetic",) if test else ("A21", "D08", "synthetic")
    return Check(family, columns, "cp_measure 0.3.0", fields, settings, test or "test_cp_measure::test_real_field")


RINGS = "[^_]+_RadialDistribution_(FracAtD|MeanFrac|RadialCV)_.*"
CHECKS = (
    _cellprofiler(
        "AreaShape",
        "[^_]+_AreaShape_.*",
        "zernike_degree 9",
        {"Nuclei_AreaShape_Orientation": 1, "Cells_AreaShape_Orientation": 2, "Cytoplasm_AreaShape_Orientation": 2},
        "the other sign of 90 or 45 degrees: the ellipse of an exactly symmetric object points up (90 and -90 degrees "
        "are one axis), or has equal variances along rows and columns; CellProfiler's sign is that of a rounding error",
    ),
    _cellprofiler("Correlation", "[^_]+_Correlation_(Correlation|K|Manders|Overlap|RWC)_.*", "threshold 15 %"),
    _cellprofiler(
        "Granularity",
        "[^_]+_Granularity_.*",
        "subsampling 0.5, background 0.5 and radius 10",
        {"Nuclei_Granularity_2_DNA": 1, "Nuclei_Granularity_2_AGP": 1},
        "losses of 0.003 % and less of one pixel's intensity, which CellProfiler rounds to single precision first",
    ),
    _cellprofiler("Intensity", "[^_]+_Intensity_.*", "any"),
    _cellprofiler("Location", "[^_]+_Location_.*", "ties: cellprofiler"),
    _cellprofiler("Neighbors", "[^_]+_Neighbors_.*", "Nuclei 1; Cells 5 and Adjacent"),
    _cellprofiler("RadialDistribution", RINGS, "4 bins, ties: cellprofiler"),
    _cellprofiler("Texture", "[^_]+_Texture_.*", "scales 3, 5, 10; 256 levels"),
    Check(
        "AreaShape",
        "Nuclei_AreaShape_.*",
        "CellProfiler 4.0.6, a production run",
        ("BR00117006",),
        "zernike_degree 9",
        "test_cellprofiler::test_nuclei_of_a_production_run_to_four_decimals",
        relative=0,
        absolute=5e-5,
        but={"Nuclei_AreaShape_Solidity": 5},
        because="up to 0.011: that version's convex hull left its border pixels out",
    ),
    Check(
        "Granularity",
        "[^_]+_Granularity_.*",
        "the definition in scipy",
        ("synthetic of odd, prime, unequal sides",),
        "subsampling and background 0.25, 0.5, 1",
        "test_granularity::test_spectra_are_those_of_the_plain_definition",
        absolute=1e-5,
    ),
    Check(
        "Location",
        "[^_]+_Location_MaxIntensity_.*",
        "the rule in fractions",
        ("synthetic",),
        "ties: centroid",
        "test_ties::test_centroid_is_the_plain_rule",
        relative=0,
        absolute=0,
    ),
    Check(
        "RadialDistribution",
        RINGS,
        "the definition in scipy",
        ("synthetic",),
        "4 bins, ties: centroid",
        "test_ties::test_rings_are_the_plain_ones",
    ),
    _cp_measure("AreaShape", "[^_]+_AreaShape_.*", "zernike_degree 9"),
    _cp_measure("Correlation", "[^_]+_Correlation_(Correlation|K|Manders|Overlap)_.*", "threshold 15 %"),
    _cp_measure(
        "Correlation", "[^_]+_Correlation_Costes_.*", "costes", "test_costes::test_within_objects_as_cp_measure"
    ),
    _cp_measure("Granularity", "[^_]+_Granularity_.*", "subsampling 0.5 of even sides"),
    _cp_measure("Intensity", "[^_]+_Intensity_.*", "any"),
    _cp_measure("Location", "[^_]+_Location_.*", "ties: first"),
    _cp_measure("RadialDistribution", "[^_]+_RadialDistribution_.*", "4 bins, ties: first, zernike_degree 9"),
    _cp_measure("Texture", "[^_]+_Texture_.*", "scales 3, 5, 10; 256 levels"),
    _cp_measure("Texture", "[^_]+_Texture_.*", "scale 2, 8 levels", "test_cp_measure::test_texture_of_few_levels"),
)
"""Every check of values against an outside oracle, CellProfiler's first."""
