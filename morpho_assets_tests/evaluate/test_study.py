"""The evaluation stage: every evaluator through the lake, side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import EVALUATORS, evaluate
from morpho_assets.evaluate.study import PROCESSED, SHUFFLED, _compared, evaluate_study
from morpho_assets.gallery.sources import SamplesheetSource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import table
from morpho_assets.profiles.correct import correct_steps, corrector_config
from morpho_assets.profiles.normalize import NormalizeConfig, normalize
from morpho_assets.profiles.pca import PcaConfig, correct_pca
from morpho_assets.profiles.study import read_space
from morpho_assets.report.study import report_study
from morpho_assets.settings import Settings
from morpho_assets.stages import STAGES
from morpho_assets.studies.model import Study
from morpho_assets_tests.evaluate.conftest import screen
from morpho_assets_tests.factories import commit_tables, commit_work, last, plate, study, study_work

COMBAT = ({"corrector": "combat"},)
OWN = {"consistency": {"label": "Metadata_moa"}, "potency": {"compound": "Metadata_moa"}}
SETTINGS: dict[str, dict[str, Any]] = {name: {"evaluator": name, **OWN.get(name, {})} for name in EVALUATORS}


def _lake(folder: Path, frame: pl.DataFrame, correction: dict[str, Any] = COMBAT[0]) -> Lake:
    """A lake with `frame` as the space `cells`, and as it is after a correction."""
    lake = Lake(str(folder))
    names = [f"{chr(64 + row)}{column:02d}" for row, column in frame.select("Metadata_Row", "Metadata_Col").iter_rows()]
    wells = frame.with_columns(
        pl.Series("Metadata_Well", names),
        Metadata_Batch=pl.col("Metadata_Plate").replace({"P1": "P0", "P3": "P2"}),
        Metadata_dose_uM=pl.col("Metadata_Perturbation").str.extract(r"t(\d+)").cast(pl.Float64) // 4 + 1,
        study=pl.lit("s"), space=pl.lit("cells"), step=pl.lit("selected"),
    )  # fmt: skip
    ((name, state),) = correct_steps(wells, [corrector_config(correction)])
    after = state.profiles.with_columns(step=pl.lit(name))
    commit_tables(lake, "feature_space", study("s"), {"profiles": wells})
    commit_tables(lake, "corrected_profiles", study("s"), {"profiles": after})
    return lake


def asked(evaluators: dict[str, dict[str, Any]], corrections: tuple[dict[str, str], ...] = COMBAT) -> Study:
    """The study `s` of the space `cells`."""
    return Study.model_validate({
        "name": "s", "title": "All of them", "spaces": {"cells": {"of": "cells"}}, "evaluators": evaluators,
        "corrections": corrections, "shuffles": 2,
    })  # fmt: skip


def evaluated(lake: Lake, *of: Any) -> pl.DataFrame:
    """The `metrics` of the study."""
    work = study_work(lake, "evaluation", asked(*of), {})
    evaluate_study(work)
    commit_work(work)
    return last(lake, "evaluation", "metrics", "s")


@pytest.fixture
def screened(tmp_path: Path) -> Callable[..., Lake]:
    return lambda *of: _lake(tmp_path / "lake", *of)


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_evaluator_runs_in_a_study(name: str, screened: Callable[..., Lake]) -> None:
    lake = screened(screen(2, treatments=24))
    found = evaluated(lake, {"mine": SETTINGS[name]})
    overall = found.filter(scope="overall")
    names = ["cells", "cells, combat", f"cells, {PROCESSED}"]
    variants = [each for name in names for each in (name, f"{name}, {SHUFFLED}")]
    assert overall["variant"].unique(maintain_order=True).to_list() == variants
    asked = overall.filter(~pl.col("variant").str.ends_with(SHUFFLED))
    assert asked["n"].min() > 0  # type: ignore[operator]
    assert asked["chance"].null_count() == 0
    tested = last(lake, "evaluation", "treatments", "s")
    assert (tested.height > 0) == (name in ("retrieval", "consistency"))


def test_which_treatments_replicate_can_be_asked(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(3, treatments=24))
    evaluated(lake, SETTINGS)
    scores = last(lake, "evaluation", "treatment_scores", "s")
    replicating = scores.filter(variant="cells", evaluator="replicability", score="replicates", value=1.0)
    assert replicating["treatment"].sort().to_list() == [f"t{i:02d}" for i in range(24)]
    kinds = scores.group_by("evaluator").agg(pl.col("score").unique().sort())
    assert dict(kinds.iter_rows()) == {
        "replicability": ["replicates", "similarity"], "enrichment": ["odds", "precision"], "nsc": ["NSC", "NSCB"],
        "grit": ["grit"], "silhouette": ["silhouette"], "mp_value": ["mahalanobis", "told_apart"],
        "near_far": ["normalised_AP_far", "normalised_AP_near", "normalised_AP_pooled"],
        "energy_distance": ["energy_distance", "told_apart"], "relationships": ["recall", "recall_alike"],
        "potency": ["potent"], "prediction": ["F1", "balanced_accuracy"],
    }  # fmt: skip
    assert scores["chance"].null_count() == 0
    retrieved = last(lake, "evaluation", "treatments", "s")  # in columns, and nowhere else
    assert set(retrieved["evaluator"]) == {"retrieval", "consistency"}
    scopes = last(lake, "evaluation", "metrics", "s").filter(evaluator="retrieval", variant="cells")["scope"]
    assert set(scopes) == {"overall"}


def test_what_a_step_changes_is_paired_by_treatment(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(0.5, treatments=24, batch=1.5))
    found = evaluated(lake, {"mine": SETTINGS["retrieval"]})
    change = found.filter(scope="against cells", metric="mAP").row(0, named=True)
    assert change["variant"] == "cells, combat"
    before, after = (
        found.filter(scope="overall", metric="mAP", variant=v).row(0, named=True) for v in ("cells", "cells, combat")
    )
    assert change["value"] == pytest.approx(after["value"] - before["value"])
    assert change["ci_low"] < change["value"] < change["ci_high"]
    assert change["ci_low"] > 0  # what two intervals side by side need not show
    assert (change["chance"], change["n"]) == (0, 24)


def test_controls_that_a_correction_was_fitted_on_rank_in_folds(screened: Callable[..., Lake]) -> None:
    sphering = {"corrector": "sphering"}
    frame = normalize(screen(0, treatments=40, plates=3, controls=12, features=30))
    found = evaluated(screened(frame, sphering), {"mine": SETTINGS["retrieval"]}, (sphering,))
    rows = found.filter(scope="overall", metric="normalised_AP").select("variant", "value")
    assert dict(rows.iter_rows())["cells, sphering"] == pytest.approx(0, abs=0.04)  # 0.3 as if they were others
    assert found.filter(scope="overall", metric="normalised_AP", variant=f"cells, sphering, {SHUFFLED}").row(
        0, named=True
    )["value"] == pytest.approx(0, abs=0.04)


def test_which_spaces_are_compared() -> None:
    spaces = asked({}).spaces
    of = {
        "cells": spaces["cells"], "count": SimpleNamespace(of="cell_count"), "vae": SimpleNamespace(of="embedding"),
        "untrained": SimpleNamespace(of="embedding"),
    }  # fmt: skip
    pairs = _compared(of, {name: name if name != "cells" else "cells, combat" for name in of})  # type: ignore[arg-type]
    assert [pair for pair in pairs if not pair[0].endswith(SHUFFLED)] == [
        ["count", "cells, combat"], ["count", "vae"], ["count", "untrained"], ["cells, combat", "vae"],
        ["cells, combat", "untrained"], ["untrained", "vae"],
    ]  # fmt: skip
    assert [f"cells, combat, {SHUFFLED}", "cells, combat"] in pairs


def test_a_space_is_compared_with_its_shuffled_twin_by_treatment(screened: Callable[..., Lake]) -> None:
    found = evaluated(screened(screen(2, treatments=12)), {"mine": SETTINGS["retrieval"]}, ())
    scope = f"against cells, {SHUFFLED}"
    gain = found.filter(scope=scope, metric="mAP", variant="cells").row(0, named=True)
    both = [
        found.filter(scope="overall", metric="mAP", variant=name)["value"][0]
        for name in ("cells", f"cells, {SHUFFLED}")
    ]
    assert gain["value"] == pytest.approx(both[0] - both[1])
    assert 0 < gain["ci_low"] < gain["value"] < gain["ci_high"]


def test_every_space_is_scored_with_the_common_post_processing(screened: Callable[..., Lake]) -> None:
    """As by hand: scaled by all wells of a plate, components, then the MAD of its controls."""
    lake = screened(screen(1, treatments=24))
    found = evaluated(lake, {"mine": SETTINGS["retrieval"]}, ())
    after = found.filter(scope="overall", metric="mAP", variant=f"cells, {PROCESSED}").row(0, named=True)
    wells = read_space(lake.latest(["feature_space"], [study("s")]), "s", "cells", "selected")
    features = [name for name in wells.columns if name.startswith("Cells_")]
    scaled = normalize(wells, NormalizeConfig(method="standardize", reference="all"), features)
    turned = correct_pca(scaled, features, PcaConfig(components=64))
    by_hand = normalize(turned.profiles, NormalizeConfig(), turned.features)
    expected = evaluate(by_hand.drop("Metadata_normalized_on"), turned.features, {"evaluator": "retrieval"})
    value = expected.metrics.filter(scope="overall", metric="mAP")["value"][0]
    assert after["value"] == pytest.approx(value, abs=1e-3)
    change = found.filter(scope="against cells", metric="mAP", variant=f"cells, {PROCESSED}").row(0, named=True)
    before = found.filter(scope="overall", metric="mAP", variant="cells").row(0, named=True)
    assert change["value"] == pytest.approx(after["value"] - before["value"])


def test_clusters_are_kept(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(3, treatments=24))
    evaluated(lake, {"tree": {"evaluator": "hierarchy"}, "other": {"evaluator": "cluster_validation"}}, ())
    found = last(lake, "evaluation", "clusters", "s")
    assert found["evaluator"].unique().to_list() == ["tree"]
    assert found.filter(variant="cells")["cluster"].max() == 4
    assert found.filter(variant="cells")["place"].sort().to_list() == list(range(1, 25))


def test_an_error_names_study_evaluator_and_variant(screened: Callable[..., Lake]) -> None:
    lake = screened(screen(2))
    with pytest.raises(InputError, match=r"study s, evaluator mine, variant cells: profiles.*Metadata_absent"):
        evaluated(lake, {"mine": {"evaluator": "grit", "group": "Metadata_absent"}})
    assert lake.ledger.latest("evaluation", study("s")) is None
    assert lake.files.find("metrics") == {}


def test_what_cannot_be_asked_leaves_the_others_their_scores(screened: Callable[..., Lake]) -> None:
    frame = screen(2, plates=1).with_columns(Metadata_moa=pl.lit(None, pl.String))
    lake = screened(frame)
    found = evaluated(lake, SETTINGS, ())
    asked = found.filter(scope="overall", variant="cells").group_by("evaluator").agg(pl.col("n").max())
    assert set(asked["evaluator"]) == set(SETTINGS)
    assert dict(asked.iter_rows())["retrieval"] == 0


@pytest.mark.slow
def test_all_evaluators_are_reported(screened: Callable[..., Lake], tmp_path: Path) -> None:
    lake = screened(screen(3, treatments=24).with_columns(Metadata_Count_Cells=pl.lit(100)))
    sources = {f"P{i}": SamplesheetSource(kind="samplesheet", name="lab", path="none.csv") for i in range(4)}
    wells = read_space(lake.latest(["feature_space"], [study("s")]), "s", "cells", "selected")
    wells = wells.drop("study", "space", "step")
    for key in sources:
        mine = wells.filter(Metadata_Plate=key)
        for stage in ("plate_manifest", "raw_images", "illumination", "image_quality", "masks"):
            commit_tables(lake, stage, plate(key), {name: table(name).empty() for name in STAGES[stage].outputs})
        commit_tables(lake, "well_profiles", plate(key), {"well_profiles": mine, "normalized_profiles": mine})
    commit_tables(lake, "feature_space", study("s"), {"space_steps": table("space_steps").empty()})
    for stage, name in (("projections", "projections"), ("encoder", "encoders"),
                        ("treatment_profiles", "treatment_profiles"), ("montages", "montages")):  # fmt: skip
        commit_tables(lake, stage, study("s"), {name: table(name).empty()})
    commit_tables(lake, "corrected_profiles", study("s"), {"correction_notes": table("correction_notes").empty()})
    settings = {**SETTINGS, "replicates": {"evaluator": "retrieval", "threshold": 0.01}}
    evaluated(lake, settings)
    work = study_work(lake, "report", asked(settings), sources)
    reports = Settings(reports=str(tmp_path / "reports"))
    left_out = {"P9": "masks: 9 of 9 sites failed"}
    work.options = SimpleNamespace(reports=reports.reports, lake_options={}, left_out=left_out)
    report_study(work)
    page = (tmp_path / "reports/s/report.html").read_text()
    assert "Which treatments belong together: hierarchy" in page
    assert "With and without the common post-processing" in page
    assert "changes are paired by treatment" in page
    for metric in ("grit_median", "NSCB", "folds_median", "percent_replicating", "NMI", "auc", "silhouette"):
        assert metric in page
    assert "At a false discovery rate of 1 %." in page
    assert "At a false discovery rate of 5 %." in page
    assert "Left out: P9; the board says why." in page
    assert "masks: 9 of 9 sites failed" in page


def test_learning_is_compared_with_its_twin_and_what_an_encoder_saw_stands_in_every_row(tmp_path: Path) -> None:
    """A space whose twin is noise: the gain stands paired, and each row says what was seen; the twin only controls."""
    lake = Lake(str(tmp_path / "lake"))
    names = [name for name in screen().columns if name.startswith("Cells_")]
    wells = screen(seed=3).with_columns(
        Metadata_Well=pl.concat_str(pl.lit("A"), pl.int_range(1, pl.len() + 1).over("Metadata_Plate").cast(pl.String)),
        study=pl.lit("s"), step=pl.lit("selected"), **{f"Embedding_{i}": pl.col(n) for i, n in enumerate(names)},
    ).drop(names)  # fmt: skip
    noise = wells.with_columns(pl.col(f"Embedding_{i}").shuffle(seed=i) for i in range(len(names)))
    spaces = {"deep": wells, "deep_untrained": noise}
    profiles = pl.concat(frame.with_columns(space=pl.lit(name)) for name, frame in spaces.items())
    commit_tables(lake, "feature_space", study("s"), {"profiles": profiles})
    commit_tables(lake, "corrected_profiles", study("s"), {"profiles": profiles.clear()})
    annotated = wells.select("Metadata_Plate", "Metadata_Well", "Metadata_Perturbation", "Metadata_control_type")
    for key, rows in annotated.partition_by("Metadata_Plate", as_dict=True).items():
        commit_tables(lake, "plate_manifest", plate(str(key[0])), {"wells": rows})
    keys = annotated.with_columns(pl.concat_str("Metadata_Plate", "Metadata_Well", separator=" ").alias("key"))
    controls = keys.filter(Metadata_control_type="negcon")["key"].to_list()
    for name, seen in {"deep": keys["key"].to_list(), "deep_untrained": controls}.items():
        labels = [["t01"] if name == "deep" else []]
        row = {"study": "s", "encoder": name, "fold": 0, "plates": [[]], "wells": [seen], "labels": labels}
        commit_tables(lake, "encoder", study("s", name), {"encoders": pl.DataFrame(row)})
    vae = {"kind": "vae", "crop_size": 64}
    config = {"name": "s", "title": "Twins", "encoders": {"deep": vae}, "spaces": {"deep": {"of": "embedding"}}}
    made = Study.model_validate({**config, "evaluators": {"replicates": {"evaluator": "retrieval", "null_size": 100}}})
    work = study_work(lake, "evaluation", made, dict.fromkeys(["P0", "P1", "P2", "P3"]))
    evaluate_study(work)
    commit_work(work)
    metrics = last(lake, "evaluation", "metrics", "s")
    gain = metrics.filter(variant="deep", scope="against deep_untrained", metric="mAP").row(0, named=True)
    assert gain["ci_low"] > 0.2
    saw = dict(metrics.select("variant", "encoder_saw").unique().iter_rows())
    assert set(saw) >= {"deep", "deep, shuffled treatments", f"deep, {PROCESSED}"}
    assert {name: saw[name] for name in ("deep", "deep_untrained")} == {
        "deep": "wells, treatments, compounds, labels",
        "deep_untrained": "nothing",
    }
    for name in ("treatments", "treatment_scores"):
        assert last(lake, "evaluation", name, "s")["encoder_saw"].null_count() == 0
