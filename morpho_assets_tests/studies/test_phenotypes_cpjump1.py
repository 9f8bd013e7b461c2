"""The shipped study of published phenotype profiles: read from one table, compared as any profile is."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from benchmarks.published import settings_of
from morpho_assets.runs import Run
from morpho_assets.studies.model import SHIPPED
from morpho_assets_tests.project import make_project

ROOT = Path(__file__).parents[2]
NAME = "phenotypes_cpjump1"
STAGES = ("feature_space", "corrected_profiles", "evaluation", "models", "predictions", "phenotypes")
U2OS_24_HOURS = ("BR00116995", "BR00117024", "BR00117026")


@pytest.mark.slow
def test_published_phenotype_profiles_are_a_study(tmp_path, reference_data):
    """Three plates of the 26, with the settings of the page."""
    settings = settings_of((ROOT / "docs/phenotypes.md").read_text())
    settings["sources"][0]["files"] = str(reference_data / "phenotypic_profiling/jump_phenotype_profiles.tsv.gz")
    project = make_project(tmp_path / "project", **settings)
    study = yaml.safe_load((SHIPPED / f"{NAME}.yaml").read_text())
    assert len(study["plates"]) == 26
    for evaluator in study["evaluators"].values():
        evaluator["null_size"] = 200
    study |= {"plates": list(U2OS_24_HOURS), "shuffles": 1}
    (project.folder / f"studies/{NAME}.yaml").write_text(yaml.safe_dump(study))
    workspace = project.workspace
    for targets in ({"plates": U2OS_24_HOURS}, {"studies": [NAME]}):
        while tasks := [t for t in workspace.plan(**targets)
                        if not t.waits and (t.stage in STAGES or "plates" in targets)]:  # fmt: skip
            run = Run(workspace)
            for task in tasks:
                run.make(task.stage, task.partition)
    given = pl.read_csv(settings["sources"][0]["files"], separator="\t")
    given = given.filter(pl.col("Metadata_Plate").is_in(U2OS_24_HOURS))
    profiles = project.read("profiles", NAME).filter(space="phenotypes")
    assert profiles.height == given.height
    assert profiles.select("^Phenotype_.*$").width == 15
    assert set(profiles["Metadata_Perturbation"]) == {
        f"{name}@compound@U2OS@24" for name in given["treatment"]
    }  # of treatment, kind, line and time
    metrics = project.read("metrics", NAME).filter(scope="overall")
    shares = dict(metrics.filter(metric="percent_replicating").select("variant", "value").iter_rows())
    assert shares["phenotypes"] > 0.25 > 0.15 > shares["phenotypes, shuffled treatments"]
    assert shares["phenotypes"] > shares["cell_count"]
    found = metrics.filter(variant="phenotypes", metric="mAP").row(0, named=True)
    assert found["value"] > 2 * found["chance"]
