"""The evaluation stage: every evaluator through the lake, side by side."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import EVALUATORS
from morpho_assets.evaluate.study import SHUFFLED, evaluate_study
from morpho_assets.gallery.store import Store
from morpho_assets.imaging.sites import SiteReader
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lake.tables import table
from morpho_assets.profiles.study import read_space
from morpho_assets.report.study import report_study
from morpho_assets.studies.model import Study
from morpho_assets_tests.evaluate.conftest import screen

MADE = Provenance("evaluation", "1", "abc", {})
STEPS = {"cells": ["selected", "sphering"]}
SETTINGS: dict[str, dict[str, Any]] = {
    name: {"evaluator": name, **({"label": "Metadata_moa"} if name == "consistency" else {})} for name in EVALUATORS
}


def _lake(folder: Path, frame: pl.DataFrame) -> Lake:
    """A lake with `frame` as the space `cells`, and a step after which replicates are closer."""
    lake = Lake(str(folder))
    features = [name for name in frame.columns if name.startswith("Cells_")]
    names = [f"{chr(64 + row)}{column:02d}" for row, column in frame.select("Metadata_Row", "Metadata_Col").iter_rows()]
    wells = frame.with_columns(
        pl.Series("Metadata_Well", names),
        Metadata_Batch=pl.col("Metadata_Plate").replace({"P1": "P0", "P3": "P2"}),
        study=pl.lit("s"), space=pl.lit("cells"), step=pl.lit("selected"),
    )  # fmt: skip
    after = wells.with_columns(
        (pl.col(features) + 3 * pl.col(features).mean().over("Metadata_Perturbation")), step=pl.lit("sphering")
    )
    lake.write("profiles", "s", wells, MADE, part="selected")
    lake.write("profiles", "s", after, MADE, part="corrected")
    return lake


@pytest.fixture
def screened(tmp_path: Path) -> Callable[..., Lake]:
    return lambda frame: _lake(tmp_path / "lake", frame)


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_evaluator_runs_in_a_study(name: str, screened: Callable[..., Lake]) -> None:
    lake = screened(screen(2, treatments=24))
    found = evaluate_study(lake, "s", MADE, STEPS, {"mine": SETTINGS[name]}, 0, {})
    overall = found.filter(scope="overall")
    names = ["cells", f"cells, {SHUFFLED}", "cells, sphering", f"cells, sphering, {SHUFFLED}"]
    assert overall["variant"].unique(maintain_order=True).to_list() == names
    asked = overall.filter(~pl.col("variant").str.ends_with(SHUFFLED))
    assert asked["n"].min() > 0  # type: ignore[operator]
    assert asked["chance"].null_count() == 0
    assert lake.read("metrics", "s").height == found.height
    tested = lake.read("treatments", "s")
    assert (tested.height > 0) == (name in ("retrieval", "consistency"))


def test_which_treatments_replicate_can_be_asked(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(3, treatments=24))
    evaluate_study(lake, "s", MADE, STEPS, SETTINGS, 0, {})
    scores = lake.read("treatment_scores", "s")
    replicating = scores.filter(variant="cells", evaluator="replicability", score="replicates", value=1.0)
    assert replicating["treatment"].sort().to_list() == [f"t{i:02d}" for i in range(24)]
    kinds = scores.group_by("evaluator").agg(pl.col("score").unique().sort())
    assert dict(kinds.iter_rows()) == {
        "retrieval": ["mAP", "normalised_AP", "retrieved"], "consistency": ["mAP", "normalised_AP", "retrieved"],
        "replicability": ["replicates", "similarity"], "enrichment": ["odds", "precision"], "nsc": ["NSC", "NSCB"],
        "grit": ["grit"], "silhouette": ["silhouette"],
    }  # fmt: skip
    assert scores["chance"].null_count() == 0


def test_what_a_step_changes_is_paired_by_treatment(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(0.3, treatments=24))
    found = evaluate_study(lake, "s", MADE, STEPS, {"mine": SETTINGS["retrieval"]}, 0, {})
    change = found.filter(scope="against cells", metric="mAP").row(0, named=True)
    assert change["variant"] == "cells, sphering"
    before, after = (
        found.filter(scope="overall", metric="mAP", variant=v).row(0, named=True) for v in ("cells", "cells, sphering")
    )
    assert change["value"] == pytest.approx(after["value"] - before["value"])
    assert change["ci_low"] < change["value"] < change["ci_high"]
    assert change["ci_low"] > 0  # what two intervals side by side need not show
    assert (change["chance"], change["n"]) == (0, 24)


def test_an_error_names_study_evaluator_and_variant(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(2))
    with pytest.raises(InputError, match=r"study s, evaluator mine, variant cells: profiles.*Metadata_absent"):
        evaluate_study(lake, "s", MADE, STEPS, {"mine": {"evaluator": "grit", "group": "Metadata_absent"}}, 0, {})
    assert lake.partitions("metrics") == []


def test_what_cannot_be_asked_leaves_the_others_their_scores(screened: Callable[..., Lake]) -> None:
    frame = screen(2, plates=1).with_columns(Metadata_moa=pl.lit(None, pl.String))
    lake = screened(frame)
    found = evaluate_study(lake, "s", MADE, {"cells": ["selected"]}, SETTINGS, 0, {})
    asked = found.filter(scope="overall", variant="cells").group_by("evaluator").agg(pl.col("n").max())
    assert set(asked["evaluator"]) == set(EVALUATORS)
    assert dict(asked.iter_rows())["retrieval"] == 0


@pytest.mark.slow
def test_all_evaluators_are_reported(screened: Callable[..., Lake], tmp_path: Path) -> None:
    lake = screened(screen(3, treatments=24).with_columns(Metadata_Count_Cells=pl.lit(100)))
    plates = [f"P{i}" for i in range(4)]
    wells = read_space(lake, "s", "cells", "selected").drop("study", "space", "step")
    for plate, name in product(plates, ("well_profiles", "normalized_profiles")):
        lake.write(name, plate, wells.filter(Metadata_Plate=plate), MADE)
    for plate, name in product(plates, ("image_quality", "masks")):
        lake.write(name, plate, table(name).empty(), MADE)
    for name in ("projections", "encoders", "correction_notes"):
        lake.write(name, "s", table(name).empty(), MADE)
    settings = {**SETTINGS, "replicates": {"evaluator": "retrieval", "threshold": 0.01}}
    study = Study.model_validate({
        "name": "s", "title": "All of them", "spaces": {"cells": {"of": "cells"}}, "evaluators": settings,
        "corrections": [{"corrector": "sphering"}],
    })  # fmt: skip
    evaluate_study(lake, "s", MADE, STEPS, settings, 0, {})
    readers = {plate: SiteReader(lake, Store()) for plate in plates}
    path, _ = report_study(lake, study, readers, str(tmp_path))
    page = Path(path).read_text()
    for metric in ("grit_median", "NSCB", "folds_median", "percent_replicating", "NMI", "auc", "silhouette"):
        assert metric in page
    assert "a false discovery rate of 1 % in" in page
    assert "a false discovery rate of 5 % in" in page
