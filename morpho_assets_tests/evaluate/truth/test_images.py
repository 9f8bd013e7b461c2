"""Masks, flags and stains against what was planted."""

import numpy as np
import polars as pl

from morpho_assets.evaluate.truth.images import quality_flags, segmentation, stains
from morpho_assets_tests.evaluate.truth.test_treatments import by_name

CHANNELS = ("DNA", "ER", "RNA", "AGP")


def site(cells=9, size=60, shift=0):
    """Square cells of 14 pixels with nuclei of 6 in a grid away from the border, moved by `shift` pixels."""
    nuclei, whole = np.zeros((2, size, size), np.int32)
    for number in range(cells):
        row, column = 4 + 18 * (number // 3) + shift, 4 + 18 * (number % 3) + shift
        whole[row : row + 14, column : column + 14] = number + 1
        nuclei[row + 4 : row + 10, column + 4 : column + 10] = number + 1
    return {"nuclei": nuclei, "cells": whole}


def test_masks_that_are_the_truth_keep_every_bound():
    found = by_name(segmentation([("a", site(), site()), ("b", site(4), site(4))]))
    assert [found[name].value for name in ("nuclei_f1", "cells_f1", "count_error")] == [1, 1, 0]
    assert all(finding.holds for finding in found.values())


def test_masks_of_another_well_fail():
    found = by_name(segmentation([("a", site(9), site(3, shift=5))]))
    assert not any(finding.holds for finding in found.values())
    assert found["count_error"].points == [("a", 9.0, 3.0)]


def test_merged_cells_fail_on_cells_alone():
    merged = {"nuclei": site()["nuclei"], "cells": np.where(site()["cells"] > 3, 4, site()["cells"])}
    found = by_name(segmentation([("a", site(), merged)]))
    assert found["nuclei_f1"].holds
    assert not found["cells_f1"].holds


def test_nuclei_at_the_border_count_on_neither_side():
    truth = site()
    truth["nuclei"][0:3, 20:26] = 10
    truth["cells"][0:3, 18:28] = 10
    assert by_name(segmentation([("a", truth, site())]))["nuclei_f1"].value == 1
    assert by_name(segmentation([("a", site(), truth)]))["count_error"].value == 0


def test_two_nuclei_of_one_cell_are_two_nuclei_and_one_cell():
    truth = site(1)
    truth["nuclei"][13:17, 8:14] = 1
    truth["nuclei"][14] = 0  # a gap between them
    found = {"nuclei": truth["nuclei"].copy(), "cells": truth["cells"]}
    found["nuclei"][15:17, 8:14] = 2
    scores = by_name(segmentation([("a", truth, found)]))
    assert scores["nuclei_f1"].value == 1
    assert scores["cells_f1"].value == 1


def test_empty_sites_are_right_and_no_site_is_no_finding():
    assert by_name(segmentation([("a", site(0), site(0))]))["nuclei_f1"].value == 1
    assert list(segmentation([])) == []


def quality(flags=None):
    """Four sites of four channels, `flags` maps (site, channel) to the name of a flag."""
    flags = flags or {}
    rows = [
        {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": number, "channel": channel}
        | {f"flag_{name}": flags.get((number, channel)) == name for name in ("out_of_focus", "saturated", "debris")}
        for number in range(1, 5)
        for channel in CHANNELS
    ]
    return pl.DataFrame(rows)


SITES = pl.DataFrame(
    {"Metadata_Plate": "P1", "Metadata_Well": "A01", "Metadata_Site": [1, 2, 3, 4], "focus": [0.0, 2.0, 0.0, 0.0],
     "saturated": ["", "", "ER", ""]}
)  # fmt: skip


def test_flags_on_what_was_planted_hold():
    found = by_name(quality_flags(SITES, quality({(2, "DNA"): "out_of_focus", (3, "ER"): "saturated"})))
    assert {name: finding.value for name, finding in found.items()} == {
        "focus_recall": 1, "focus_precision": 1, "saturation_recall": 1, "saturation_precision": 1,
    }  # fmt: skip
    assert all(finding.holds for finding in found.values())


def test_flags_on_other_sites_fail():
    found = by_name(quality_flags(SITES, quality({(1, "DNA"): "out_of_focus", (3, "RNA"): "saturated"})))
    assert len(found) == 4
    assert not any(finding.holds for finding in found.values())


def test_a_flag_for_debris_notices_an_over_exposed_channel():
    found = by_name(quality_flags(SITES, quality({(3, "ER"): "debris"})))
    assert found["saturation_recall"].holds
    assert "saturation_precision" not in found


def test_nothing_planted_and_nothing_flagged_is_no_finding():
    clean = SITES.with_columns(focus=0.0, saturated=pl.lit(""))
    assert list(quality_flags(clean, quality())) == []


def drifting(planted, measured):
    """Plates of one well whose AGP gains are `planted`, and whose sites have the AGP contrast `measured`; the other
    stains agree to 2 % and are measured as they are."""
    rng = np.random.default_rng(0)
    plates = [f"P{i}" for i in range(len(planted))]
    gains = {channel: np.exp(rng.normal(0, 0.02, len(plates))) for channel in CHANNELS[:3]}
    gains["AGP"] = np.array(planted, dtype=float)
    wells = pl.DataFrame({"Metadata_Plate": plates} | {f"gain_{channel}": value for channel, value in gains.items()})
    contrast = gains | {"AGP": np.array(measured, dtype=float)}
    found = pl.DataFrame({"Metadata_Plate": plates} | contrast)
    return wells, found.unpivot(index="Metadata_Plate", variable_name="channel", value_name="ImageQuality_StdIntensity")


STEADY = [1, 1.01, 0.97, 1.02]


def test_a_stain_that_drifts_is_flagged():
    found = by_name(stains(*drifting([1, 1.02, 0.98, 1.01, 1.6], [*STEADY, 1.5])))
    assert found["drift_recall"].value == 1
    assert found["drift_precision"].value == 1
    assert all(finding.holds for finding in found.values())


def test_a_drift_that_is_not_measured_is_missed_and_one_that_is_not_there_is_false():
    missed = by_name(stains(*drifting([1, 1.02, 0.98, 1.01, 1.6], [*STEADY, 1.0])))
    assert not missed["drift_recall"].holds
    false = by_name(stains(*drifting([1, 1.02, 0.98, 1.01, 1.0], [*STEADY, 1.6])))
    assert not false["drift_precision"].holds


def test_stains_measured_on_the_wrong_plates_do_not_follow_what_was_planted():
    wells, measured = drifting([0.8, 0.9, 1, 1.1, 1.2], [0.8, 0.9, 1, 1.1, 1.2])
    assert by_name(stains(wells, measured))["drift"].value == 1
    others = dict(zip(wells["Metadata_Plate"], wells["Metadata_Plate"].reverse(), strict=True))
    wrong = measured.with_columns(pl.col("Metadata_Plate").replace_strict(others))
    assert not by_name(stains(wells, wrong))["drift"].holds


def test_two_plates_cannot_say_which_of_them_drifts():
    assert list(stains(*drifting([1, 1.5], [1, 1.5]))) == []
