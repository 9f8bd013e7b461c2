"""The studies of three publications' rows, run from end to end on small plates with little training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from morpho_assets.runs import Run
from morpho_assets.simulator import write_gallery
from morpho_assets.simulator.design import GalleryDesign
from morpho_assets.studies.model import SHIPPED
from morpho_assets.workspace import Workspace
from morpho_assets_tests.project import make_project

DESIGN = GalleryDesign(
    batches=1, plates_per_batch=2, rows=3, columns=6, pixels=96, scale=0.4, cells_per_site=8, negative_controls=6,
    positive_controls=0, mechanisms=("aurora_inhibitor", "er_stress", "actin_disruptor"), inactive_compounds=2,
    series_compounds=0,
)  # fmt: skip
STUDIES = ("zhang", "wang", "moshkov")
WANTED = {
    "zhang": {("named", "balanced_accuracy"), ("apart", "silhouette"), ("ranked", "mAP"),
              ("attributions cnn, grad_cam", "area"), ("attributions cnn, grad_cam", "density_nucleus")},
    "wang": {("forest", "balanced_accuracy"), ("position", "normalised_AP_near"), ("validated", "auc")},
    "moshkov": {("replicates", "mAP"), ("mechanism", "folds_median")},
}  # fmt: skip


def quick(study: dict[str, Any]) -> dict[str, Any]:
    """The study with one epoch, small windows, and all treatments: of so few wells hardly one is strong."""
    for encoder in study["encoders"].values():
        encoder.pop("strong", None)
        if "epochs" in encoder:
            encoder |= {"epochs": 1, "min_epochs": 1}
        if (
            encoder["kind"] in ("imagenet", "weakly_supervised", "supervised")
            and encoder.get("architecture") != "small"
        ):
            encoder |= {"block": 3, "size": 32}
    for each in study.get("sets", {}).values():
        each.pop("cross_fit", None)  # of one plate no treatment has two wells
        each |= {"epochs": 1, "min_epochs": 1}
    return study


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder: Path = tmp_path_factory.mktemp("papers")
    (folder / "gallery").mkdir()
    plates = write_gallery(folder / "gallery", DESIGN, seed=6)
    (folder / "project").mkdir()
    made = make_project(folder / "project", folder / "gallery").workspace
    while tasks := [task for task in made.plan(plates) if not task.waits]:
        run = Run(made)
        for task in tasks:
            run.make(task.stage, task.partition)
    for name in STUDIES:
        study = quick(yaml.safe_load((SHIPPED / f"{name}.yaml").read_text()))
        (folder / "project" / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(study))
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A large number of your vertices")  # so few wells: maps of nothing
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_a_publication_runs_to_its_report(workspace: Workspace, name: str) -> None:
    while tasks := [task for task in workspace.plan(studies=[name]) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            assert task.held is None, task.held
            run.make(task.stage, task.partition)
    tables = workspace.lake.snapshot(
        commit for (_, partition), commit in workspace.lake.ledger.state().commits.items() if partition.key == name
    )
    metrics = tables.read("metrics", name)
    found = set(metrics.select("evaluator", "metric").iter_rows())
    assert WANTED[name] <= found, sorted(found)
    learned = tables.read("encoders", name)
    assert learned.filter(pl.col("untrained"))["encoder"].n_unique() >= 2
    if name != "moshkov":  # whose frozen network is not cross-fitted; a twin's draw is chosen on the wells of one fold
        own = metrics.filter(~pl.col("variant").str.contains("_untrained")).drop_nulls("encoder_saw")
        assert not own["encoder_saw"].str.contains("wells").any()
