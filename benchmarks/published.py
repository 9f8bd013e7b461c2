"""26 real plates in one catalog: published phenotype profiles, from one table through the whole graph to SQL.

    python -m benchmarks.published [--reference PATH] [--plates 26]

The settings are those of docs/phenotypes.md, the study is `phenotypes_cpjump1`. Fewer plates are a quick look, of which
nothing is published. Bounded: some five minutes on one quiet core.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from functools import partial
from pathlib import Path

import duckdb
import yaml

from benchmarks.figures import PAGE, Figures
from benchmarks.ledger import median_ms, seconds_of
from morpho_assets.studies.model import SHIPPED
from morpho_assets_tests.project import Project, make_project

STUDY, TABLE = "phenotypes_cpjump1", "phenotypic_profiling/jump_phenotype_profiles.tsv.gz"
ABOUT = (
    "The phenotype profiles of 26 plates of CPJUMP1 (Tomkinson 2024), one published table of wells, by `morpho run`: "
    "every plate, then the study `phenotypes_cpjump1` with its report, the catalog after each; two queries of the "
    "catalog (medians)."
)
WELLS = "SELECT count(DISTINCT Metadata_Plate), count(*) FROM well_profiles"
BY_TREATMENT = (
    "SELECT Metadata_treatment, count(*) AS wells, avg(Phenotype_Apoptosis) AS apoptosis FROM well_profiles "
    "GROUP BY ALL ORDER BY apoptosis DESC LIMIT 20"
)
SHARES = (
    f"SELECT variant, metric, value, chance FROM metrics WHERE study = '{STUDY}' AND scope = 'overall' "
    "AND metric IN ('mAP', 'percent_replicating')"
)


def settings_of(page: str) -> dict[str, object]:
    """The settings that a page gives for the table."""
    [block] = [part for part in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if Path(TABLE).name in part]
    found: dict[str, object] = yaml.safe_load(block)
    return found


def measure(figures: Figures, project: Project, plates: list[str]) -> None:
    names = [part for plate in plates for part in ("--plate", plate)]
    seconds = seconds_of(partial(project.run, "run", *names))
    figures.add("plates_seconds", seconds, "s", f"{len(plates)} plates; {_load()}")
    seconds = seconds_of(partial(project.run, "run", "--study", STUDY))
    figures.add("study_seconds", seconds, "s", f"spaces to report, and the catalog; {_load()}")
    catalog = project.workspace.settings.catalog
    figures.add("catalog_mb", os.path.getsize(catalog) / 1e6, "MB")
    with duckdb.connect(catalog, read_only=True) as connection:
        [(found, wells)] = connection.execute(WELLS).fetchall()
        figures.add("plates", found, "plates", f"{wells:,} wells in `well_profiles`", at_least=len(plates))
        figures.add(
            "by_treatment_ms", median_ms(connection, BY_TREATMENT), "ms", "one phenotype by treatment", at_most=50
        )
        figures.add("metrics_ms", median_ms(connection, SHARES), "ms", "what the study found", at_most=50)
        for variant, metric, value, chance in connection.execute(SHARES).fetchall():
            if variant in ("phenotypes", "cell_count", "phenotypes, shuffled treatments"):
                name = re.sub(r"\W+", "_", f"{variant} {metric}")
                figures.add(name, value, "", "" if chance is None else f"chance {chance:.3f}")


def _load() -> str:
    return f"load {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default=os.environ.get("MORPHO_REFERENCE_DATA"), help="folder of reference data")
    parser.add_argument("--plates", type=int, default=26)
    options = parser.parse_args()
    if options.reference is None:
        parser.error("set MORPHO_REFERENCE_DATA or give --reference")
    settings = settings_of((PAGE.parent / "phenotypes.md").read_text())
    settings["sources"][0]["files"] = str(Path(options.reference).resolve() / TABLE)
    study = yaml.safe_load((SHIPPED / f"{STUDY}.yaml").read_text())
    study["plates"] = study["plates"][: options.plates]
    figures = Figures("published", ABOUT)
    with tempfile.TemporaryDirectory(prefix="published-") as folder:
        project = make_project(Path(folder) / "project", **settings)
        (project.folder / f"studies/{STUDY}.yaml").write_text(yaml.safe_dump(study))
        measure(figures, project, study["plates"])
    if options.plates == len(study["plates"]) == 26:
        figures.publish()


if __name__ == "__main__":
    main()
