"""Whether the platform sees what the simulator planted: the demo over three seeds, and broken on purpose.

python -m benchmarks.truth [--seeds N] [--folder PATH]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import yaml

from benchmarks.figures import Figures
from benchmarks.simulator import drawing_rate
from morpho_assets.evaluate.baselines import shuffled
from morpho_assets.evaluate.truth import CHECKS, Finding, TruthConfig, truth_checks
from morpho_assets.evaluate.truth.batches import correction, mechanisms, positions, standardised
from morpho_assets.evaluate.truth.evaluator import label_pairs
from morpho_assets.evaluate.truth.images import quality_flags, segmentation, stains
from morpho_assets.evaluate.truth.treatments import counting, lengths, null_wells, parameters, planted_lengths, ranks
from morpho_assets.gallery.truth import Truth, read_truth, truth_folders
from morpho_assets.lake.lake import Snapshot
from morpho_assets.profiles.features import to_matrix, with_matrix
from morpho_assets.profiles.study import SELECTED, read_space, space_features
from morpho_assets.simulator import SIZES
from morpho_assets.studies.model import SHIPPED
from morpho_assets.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
STUDY, SPACE, COUNT = "demo", "cellprofiler", "cell_count"


def run_demo(folder: Path, seed: int, method: str = "watershed") -> tuple[Workspace, float]:
    """`morpho demo` with the default study without its encoders, which no check looks at; and its seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", folder)
    settings = (ROOT / "morpho.yaml").read_text()
    (folder / "morpho.yaml").write_text(f"{settings}\nsegmentation: {{method: {method}}}\n")
    study = yaml.safe_load((SHIPPED / f"{STUDY}.yaml").read_text())
    study["encoders"] = {}
    study["spaces"] = {name: space for name, space in study["spaces"].items() if space["of"] != "embedding"}
    (folder / "studies").mkdir(exist_ok=True)
    (folder / f"studies/{STUDY}.yaml").write_text(yaml.safe_dump(study))
    state = {"DAGSTER_HOME": str(folder), "MORPHO_STATE_DIR": str(folder / "data/dagster")}
    environment = {**os.environ, **state, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    begin = time.perf_counter()
    command = [sys.executable, "-m", "morpho_assets.cli", "demo", "--seed", str(seed)]
    subprocess.run(command, cwd=folder, env=environment | {"MORPHO_SETTINGS": str(folder / "morpho.yaml")}, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return Workspace.open(folder / "morpho.yaml"), time.perf_counter() - begin


def committed(workspace: Workspace) -> tuple[Snapshot, Truth]:
    """All that was committed last, and what is known of the study's plates."""
    state = workspace.lake.ledger.state()
    tables = workspace.lake.snapshot(state.commits.values())
    plates = workspace.study_plates(workspace.study(STUDY), state)
    truth = read_truth(truth_folders(tables, {plate: workspace.source(plate, state) for plate in plates}))
    assert truth is not None
    return tables, truth


def broken(workspace: Workspace, seed: int) -> dict[str, Finding]:
    """Each check on the same plates with one thing broken: labels shuffled, a wrong channel, no normalisation …"""
    tables, truth = committed(workspace)
    plates = sorted(truth.folders)
    planted = planted_lengths(truth.treatments)
    names = ("image_quality", "well_profiles", "normalized_profiles")
    quality, measured, normalised = (tables.scan(name, plates).collect() for name in names)
    profiles, counts = (read_space(tables, STUDY, space, SELECTED) for space in (SPACE, COUNT))
    features = space_features(profiles)
    rng = np.random.default_rng(seed)
    wrong, nothing = shuffled(profiles, seed=seed), _noise(profiles, features, rng)
    raw = profiles.select("Metadata_Plate", "Metadata_Well").join(
        measured, on=["Metadata_Plate", "Metadata_Well"], maintain_order="left"
    )
    found: dict[str, Finding] = {}

    def keep(findings: object, *names: str) -> None:
        found.update({f.check: f for f in findings if not names or f.check in names})  # type: ignore[attr-defined]

    pairs = list(label_pairs(tables, truth, plates))
    keep(segmentation((name, true, pairs[i - 1][2]) for i, (name, true, _) in enumerate(pairs)))  # the well before
    moved = truth.sites.with_columns(
        truth.sites.select("focus", "saturated").sample(fraction=1, shuffle=True, seed=seed)
    )
    keep(quality_flags(moved, quality))
    turned = dict(zip(plates, plates[::-1], strict=True))
    keep(stains(truth.wells, quality.with_columns(pl.col("Metadata_Plate").replace_strict(turned))))
    keep(parameters(shuffled(normalised, seed=seed), planted))
    swap = {"Nuclei_Intensity_MeanIntensity_ER": "Nuclei_Intensity_MeanIntensity_Mito"}
    keep(parameters(normalised.rename(swap | {b: a for a, b in swap.items()}), planted), "er_intensity")
    keep(ranks(wrong, features, planted, seed))
    keep(lengths(wrong, features, planted))
    keep(null_wells(*_apart(profiles, features, planted), planted, seed))
    keep(mechanisms(wrong, features, planted, seed), "nsc")
    keep(mechanisms(_bent(profiles, features, rng), features, planted, seed), "nscb_drop")
    keep(correction(raw, *_swapped(standardised(raw, features), features), seed), "batch_removed")
    keep(correction(raw, nothing, features, features, seed), "map_kept")
    mixed = measured.with_columns(pl.col("Metadata_Well").shuffle(seed=seed).over("Metadata_Plate"))
    keep(positions(mixed, truth.wells, planted))
    keep(counting(shuffled(counts, seed=seed), space_features(counts), planted, seed), "count_finds_toxic")
    keep(counting(profiles, features, planted, seed), "count_finds_else")  # a baseline that sees the images
    return found


def _swapped(scaled: tuple[pl.DataFrame, list[str]], features: list[str]) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Profiles with all plates scaled together, never plate by plate, in the place of corrected ones."""
    return scaled[0], features, scaled[1]


def _apart(profiles: pl.DataFrame, features: list[str], planted: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Inert wells, each in a direction of its own and each plate centred: what a sphering does that is fitted on as
    many wells as features. Wells of other plates are then the nearest, whatever their label."""
    acting = planted.filter("active")["Metadata_Perturbation"].to_list()
    inert = profiles.filter(~pl.col("Metadata_Perturbation").is_in(acting))
    own, plates = np.eye(inert.height), inert["Metadata_Plate"].to_numpy()
    for plate in np.unique(plates):
        own[plates == plate] -= own[plates == plate].mean(axis=0)
    names = [f"Cells_{number}" for number in range(inert.height)]
    return pl.concat([inert.drop(features), pl.DataFrame(own, schema=names)], how="horizontal"), names


def _noise(profiles: pl.DataFrame, features: list[str], rng: np.random.Generator) -> pl.DataFrame:
    return with_matrix(profiles, features, rng.normal(size=(profiles.height, len(features))))


def _bent(profiles: pl.DataFrame, features: list[str], rng: np.random.Generator) -> pl.DataFrame:
    """The second batch with the sign of a random half of the features turned: an effect that no centring removes."""
    second = (profiles["Metadata_Batch"] == profiles["Metadata_Batch"].max()).to_numpy()
    sign = np.where(second[:, None], rng.choice([-1.0, 1.0], len(features)), 1.0)
    return with_matrix(profiles, features, to_matrix(profiles, features) * sign)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, … (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the projects are kept; default: a temporary folder")
    options = parser.parse_args()
    figures = Figures("truth", "The size `demo` of the simulator with the default study over three seeds, through the "
                      "whole graph: each check's worst value, its bound, and its value with the pipeline broken on "
                      "purpose (docs/truth.md).")  # fmt: skip
    good: list[dict[str, Finding]] = []
    bad: list[dict[str, Finding]] = []
    seconds, asked = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(options.seeds):
            workspace, took = run_demo((options.folder or Path(scratch)) / f"seed-{seed}", seed)
            begin = time.perf_counter()
            findings = _findings(workspace)
            asked.append(time.perf_counter() - begin)
            good.append(findings)
            bad.append(broken(workspace, seed))
            seconds.append(took)
        workspace, _ = run_demo((options.folder or Path(scratch)) / "network", 0, "network")
        network = _findings(workspace)
    _publish(figures, good, bad, seconds, asked, network)


def _findings(workspace: Workspace) -> dict[str, Finding]:
    """The checks asked anew, as the evaluation of the graph did."""
    study = workspace.study(STUDY)
    tables, truth = committed(workspace)
    rows = truth_checks(tables, STUDY, list(study.spaces), truth, TruthConfig(), study.seed).metrics
    against = dict(rows.filter(scope="counterpart").select("metric", "value").iter_rows())
    return {
        row["metric"]: Finding(
            row["metric"], _number(row["value"]), row["n"], row["chance"], counterpart=against.get(row["metric"])
        )
        for row in rows.filter(scope="check").iter_rows(named=True)
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _publish(
    figures: Figures, good: list[dict[str, Finding]], bad: list[dict[str, Finding]], seconds: list[float],
    asked: list[float], network: dict[str, Finding],
) -> None:  # fmt: skip
    found, spoilt = ([finding for run in runs for finding in run.values()] for runs in (good, bad))
    figures.add("checks", len(found), "", f"{len(good)} seeds; a check with nothing planted is absent")
    figures.add("checks_failed", sum(not finding.holds for finding in found), "", "wanted: 0")
    figures.add("counter_tests", len(spoilt), "", "the same checks with one thing broken on purpose")
    figures.add("counter_tests_not_noticed", sum(finding.holds for finding in spoilt), "", "wanted: 0")
    for name, check in CHECKS.items():
        values = [run[name].value for run in good if name in run]
        others = ", ".join(f"{run[name].value:.2f}" for run in bad if name in run)
        if not values:
            continue
        worst = min(values) if check.at_least is not None else max(values)
        bound = f"at least {check.at_least:g}" if check.at_least is not None else f"at most {check.at_most:g}"
        figures.add(name, worst, "", f"{bound}; worst of {len(values)}; broken: {others or 'see the tests'}")
    failed = [name for name, finding in network.items() if not finding.holds]
    note = f"of {len(network)}, of one seed with the network in place of the watershed; wanted: 0"
    figures.add("network_checks_failed", len(failed), "", f"{note}{': ' if failed else ''}{', '.join(failed)}")
    for name in ("nuclei_f1", "cells_f1", "count_error"):
        figures.add(f"network_{name}", network[name].value, "", f"the same run; watershed {good[0][name].value:.3f}")
    design = SIZES["demo"]
    megapixels = design.plates * design.rows * design.columns * design.sites * design.pixels**2 * 5 / 1e6
    rate = "megapixels × channels/s"
    figures.add("megapixel_channels_per_s", drawing_rate(), rate, "drawn by the simulator on one core; wanted: 5")
    figures.add("demo_megapixel_channels_per_s", megapixels / float(np.median(seconds)), rate,
                "simulated and through the whole graph, without encoders")  # fmt: skip
    figures.add("seconds", float(np.median(asked)), "s", "what the checks take of a demo")
    figures.publish()


if __name__ == "__main__":
    main()
