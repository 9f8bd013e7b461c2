"""The documentation against the code: every SQL statement, command, setting and link in it."""

import gzip
import re
import shlex
import subprocess

import numpy as np
import polars as pl
import pytest
import yaml

from morpho_assets import reference
from morpho_assets.evaluate.evaluators import EVALUATORS
from morpho_assets.evaluate.pairs import PairRule
from morpho_assets.lake.catalog import query_catalog
from morpho_assets.profiles.consensus import ConsensusConfig
from morpho_assets.profiles.harmony import HarmonyConfig
from morpho_assets.profiles.recipe import Recipe
from morpho_assets.profiles.tuning import SweepConfig
from morpho_assets.settings import Settings
from morpho_assets.studies.model import Study
from morpho_assets_tests import cookbook
from morpho_assets_tests.project import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


def blocks(language, *names):
    """(page, text) of every fenced block of a language, on the named pages or on all."""
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        if not names or page.name in names
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("statement", blocks("sql"))
def test_every_statement_runs_on_the_demo(demo, statement):
    frame = query_catalog(demo[0].workspace.settings.catalog, statement.strip().rstrip(";"))
    assert frame.width > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked", cookbook.statements(cookbook.PAGE.read_text()), ids=lambda asked: asked.statement[:40]
)
def test_every_answer_of_the_cookbook_is_what_its_statement_gives(demo, asked):
    frame = query_catalog(demo[0].workspace.settings.catalog, asked.statement.rstrip(";"))
    assert list(asked.differences(frame)) == []


@pytest.mark.slow
@pytest.mark.parametrize("script", blocks("sh", "README.md", "export.md", "planning.md", "segmentation.md"))
def test_every_command_runs(demo, script):
    for line in script.strip().splitlines():
        program, *arguments = shlex.split(line, comments=True)
        if program == "make":
            subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, check=True, capture_output=True)
        else:
            assert program == "morpho"
            demo[0].run(*arguments)


SETTINGS_PAGES = (
    "README.md", "activity.md", "configuration.md", "deployment.md", "encoders.md", "export.md", "inputs.md",
    "phenotypes.md", "planning.md", "profiles.md", "segmentation.md",
)  # fmt: skip


@pytest.mark.parametrize("text", blocks("yaml", *SETTINGS_PAGES))
def test_every_setting_shown_is_valid(text):
    content = yaml.safe_load(text)
    part = {"activity", "corrections", "encoders", "evaluators", "phenotypes", "spaces"} & set(content)
    if "name" not in content and part:  # a part of a study
        content = {"name": "part", "title": "Part", "spaces": {}, "evaluators": {}, **content}
    model = Study if "spaces" in content else Recipe if "steps" in content else Settings
    model.model_validate(content)


@pytest.mark.parametrize("code", blocks("python", "README.md"))
def test_the_readme_s_python_runs(code):
    names = {}
    exec(code, names)
    assert names["cells"].height == 1


def test_the_python_of_the_page_on_profiles_runs(tmp_path, monkeypatch):
    """From a plate of CellProfiler's cells to hits, then from published profiles to one frame, as on the page."""
    monkeypatch.chdir(tmp_path)
    wells = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]
    drugs = ["DMSO"] * 12 + [f"drug {i % 3}" for i in range(12)]
    kinds = ["negcon"] * 12 + [None] * 12
    plate_map = pl.DataFrame({"Metadata_Plate": "BR00116991", "Metadata_Well": wells, "Metadata_Perturbation": drugs,
                              "Metadata_control_type": kinds})  # fmt: skip
    plate_map.write_csv("plate_map.csv")
    rng = np.random.default_rng(0)
    for well in wells:
        write_site(tmp_path / f"analysis/BR00116991/BR00116991-{well}-1", rng)
    values = pl.DataFrame(rng.normal(size=(24, 3)), schema=["Cells_A", "Nuclei_B", "Nuclei_C"])
    published = plate_map.rename({"Metadata_Perturbation": "Metadata_broad_sample"}).hstack(values)
    for stage in ("augmented", "normalized_feature_select_negcon_batch"):
        file = tmp_path / f"profiles/BR00116991/BR00116991_{stage}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".csv.gz").write_bytes(gzip.compress(published.write_csv().encode()))
    names = {}
    for block in blocks("python", "profiles.md"):
        exec(block.values[0], names)
    assert names["hits"]["Metadata_Perturbation"].to_list() == ["drug 0", "drug 1", "drug 2"]
    assert names["profiles"].height == 24  # of one stage


def write_site(folder, rng):
    """Five cells as CellProfiler exports them, with two features that vary."""
    folder.mkdir(parents=True)
    (folder / "Image.csv").write_text("ImageNumber\n1\n")
    parents = {"Nuclei": "", "Cells": ",Parent_Nuclei", "Cytoplasm": ",Parent_Cells,Parent_Nuclei"}
    for name, links in parents.items():
        rows = [f"1,{i},{rng.normal()},{rng.normal()}" + f",{i}" * links.count(",") for i in range(1, 6)]
        lines = [f"ImageNumber,ObjectNumber,AreaShape_Area,Texture_X{links}", *rows]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_make_target_of_the_readme_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_reference_tells_all_of_what_a_setting_assumes():
    page = (ROOT / "docs/configuration.md").read_text()
    chapters = re.findall(r"^### (\w+)\n\n(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    assert len(chapters) == len(dict(chapters)) > 60
    assert [name for name, summary in chapters if not summary.endswith(".")] == []
    words = " ".join(page.split())
    for model in [model for model, _ in EVALUATORS.values()] + [PairRule, ConsensusConfig, SweepConfig, HarmonyConfig]:
        assert model.__name__ in dict(chapters)
        for sentence in " ".join(model.__doc__.split("\n\n")[0].split()).split(". "):
            assert sentence in words
    assert "- `mad_robustize`: (x - median) / (mad_scale * MAD)" in page


def test_the_reference_pages_are_those_of_the_code():
    assert (ROOT / "docs/tables.md").read_text() == reference.tables_page(), "run make docs"
    for name, made in reference.PAGES.items():
        page = (ROOT / "docs" / name).read_text()
        assert page == made(page), "run make docs"
