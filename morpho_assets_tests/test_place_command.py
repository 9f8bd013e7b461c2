"""`morpho place` on synthetic plates: the second plate's wells in a study of the first."""

import argparse

import polars as pl
import pytest
import yaml

from morpho_assets.errors import InputError
from morpho_assets.lake.ledger import Partition
from morpho_assets.place_command import add_place_command
from morpho_assets.runs import Run
from morpho_assets_tests.project import make_project

PLATES = ("SYN00000001", "SYN00000002")
STUDY = {
    "name": "known",
    "title": "What is known",
    "plates": [PLATES[0]],
    "phenotypes": {
        "state": {
            "labels": {"of": "truth", "merge": {"changed": ["binucleate", "mitotic", "apoptotic", "elongated"]}},
            "model": {"kind": "ridge", "alpha": [100.0]}, "splits": [{"by": "random"}], "calls": {"shuffled": False},
        },
    },
    "spaces": {"state": {"of": "phenotypes"}, "cells": {"of": "cells"}},
    "evaluators": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_gallery):
    project = make_project(tmp_path_factory.mktemp("placed"), tiny_gallery)
    (project.folder / "studies/known.yaml").write_text(yaml.safe_dump(STUDY))
    workspace = project.workspace
    while tasks := [task for task in workspace.plan(PLATES) if not task.waits]:
        run = Run(workspace)
        for task in tasks:
            run.make(task.stage, task.partition)
    run = Run(workspace)
    for stage in ("models", "predictions", "phenotypes", "feature_space"):
        run.make(stage, Partition("study", "known"))
    return project


def place(project, *arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", default=str(project.folder / "morpho.yaml"))

    def command(name, run, text):
        parser.set_defaults(run=run)
        return parser

    add_place_command(command)
    options = parser.parse_args(arguments)
    options.run(options)


def test_every_well_has_neighbours_and_phenotypes(project, tmp_path, capsys):
    out = tmp_path / "placed.csv"
    place(project, PLATES[1], "--study", "known", "--nearest", "2", "--out", str(out))
    found = pl.read_csv(out)
    wells = project.tables(PLATES[1]).read("normalized_profiles", PLATES[1])
    assert found.height == 2 * wells.height
    known = project.tables(PLATES[0]).read("wells", PLATES[0])["Metadata_Perturbation"]
    assert set(found["treatment"]) <= set(known)
    assert found["similarity"].is_between(-1, 1).all()
    shares = found.select("Phenotype_changed", "Phenotype_interphase").sum_horizontal()
    assert shares.drop_nulls().is_between(0.9, 1.1).all()
    assert "rows in" in capsys.readouterr().out
    place(project, PLATES[1], "--study", "known", "--nearest", "1")
    assert "treatment" in capsys.readouterr().out


def test_what_cannot_be_placed_is_said(project):
    with pytest.raises(InputError, match="the space state of wells in units of the controls"):
        place(project, PLATES[1], "--study", "known", "--space", "state")
    with pytest.raises(InputError, match="no study 'unknown'"):
        place(project, PLATES[1], "--study", "unknown")
