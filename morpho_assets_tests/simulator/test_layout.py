from __future__ import annotations

import numpy as np
import pytest

from morpho_assets.errors import InputError
from morpho_assets.simulator import SIZES, GalleryDesign, Technique
from morpho_assets.simulator.layout import Treatment, Well, compounds, conditions, plate_wells, treatments

DEMO = SIZES["demo"]


def test_demo_holds_what_evaluation_needs() -> None:
    library = compounds(DEMO, 0)
    groups = {c.mechanism: [d for d in library[1:] if d.mechanism == c.mechanism] for c in library}
    assert sum(len(g) >= 2 for m, g in groups.items() if m not in ("toxic", "inactive")) >= 6
    assert len(groups["inactive"]) >= 4
    for plate in range(DEMO.plates):
        wells = plate_wells(DEMO, 0, plate)
        assert len(wells) <= 60
        assert sum(w.treatment.role == "negcon" for w in wells) >= 12
        assert {w.treatment.name for w in wells} == {t.name for t in treatments(DEMO, 0)}


def test_every_named_size_has_a_layout_that_fits() -> None:
    for design in SIZES.values():
        assert len(plate_wells(design, 0, 0)) == design.rows * design.columns


def test_positions_are_redrawn_or_shared() -> None:
    def names(layout: str, plate: int) -> list[str]:
        design = DEMO.model_copy(update={"layout": layout})
        return [well.treatment.name for well in plate_wells(design, 0, plate)]

    assert names("same", 0) == names("same", 3)
    assert names("randomised", 0) != names("randomised", 3)


def test_a_null_experiment_has_no_active_treatment() -> None:
    null = DEMO.model_copy(update={"effect_strength": 0.0})
    assert not any(treatment.active for treatment in treatments(null, 0))


def test_the_lowest_dose_of_a_series_is_below_threshold_or_weaker_than_the_top() -> None:
    series = {
        t.dose: t for t in treatments(DEMO, 0) if t.compound and t.compound.broad_sample.startswith("BRD-S00000001")
    }
    lengths = [np.linalg.norm(series[dose].effect) for dose in sorted(series)]
    assert lengths == sorted(lengths)
    assert len(lengths) == 4


def test_too_few_wells_and_unknown_mechanisms_are_named() -> None:
    with pytest.raises(InputError, match="at least"):
        plate_wells(DEMO.model_copy(update={"rows": 2}), 0, 0)
    with pytest.raises(InputError, match="aurora_inhibitor"):
        compounds(GalleryDesign(mechanisms=("magic",)), 0)


def test_wells_are_named_as_on_plates_of_every_format() -> None:
    dmso = Treatment(None, 0.0, "negcon")
    assert [Well(row, column, dmso).name for row, column in ((1, 1), (16, 24), (27, 3), (32, 48))] == [
        "A01", "P24", "AA03", "AF48"
    ]  # fmt: skip


def test_gains_have_the_spread_of_their_switches_and_batches_share_theirs() -> None:
    middle = Well(3, 4, Treatment(None, 0.0, "negcon"))

    def log_gains(**switches: float) -> np.ndarray:
        technique = Technique.none().model_copy(update=switches)
        design = DEMO.model_copy(update={"batches": 100, "technique": technique})
        return np.log([conditions(design, 0, plate, middle).gain for plate in range(200)])

    assert log_gains().any() == 0
    assert log_gains(plate_gain=0.2).std() == pytest.approx(0.2, rel=0.1)
    assert log_gains(well_jitter=0.1).std() == pytest.approx(0.1, rel=0.1)
    batches = log_gains(batch_gain=0.3)
    assert batches.std() == pytest.approx(0.3, rel=0.1)
    np.testing.assert_array_equal(batches[::2], batches[1::2])
