"""Exports as assets: the same folder as the command's, with its size, and a wrong choice as one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from morpho_assets.assets.exports import export_asset
from morpho_assets.assets.resources import LoggedProgress, WorkspaceResource
from morpho_assets_tests.project import Project

PLATE = "SYN00000001"


def materialize(
    project: Project, folder: Path, form: str, of: str = "plate", key: str = PLATE, **config: Any
) -> dg.ExecuteInProcessResult:
    asset = export_asset(form, of)
    name = asset.key.to_user_string()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.add_dynamic_partitions(of, [key])
        resources = {
            "workspace": WorkspaceResource(file=str(project.folder / "morpho.yaml")), "progress": LoggedProgress(),
        }  # fmt: skip
        assets = [asset, *(dg.AssetSpec(each, partitions_def=asset.partitions_def) for each in asset.dependency_keys)]
        run_config = {"ops": {name: {"config": config}}}
        return dg.materialize(assets, selection=[asset], partition_key=key, instance=instance, resources=resources,
                              run_config=run_config, raise_on_error=False)  # fmt: skip


@pytest.mark.slow
def test_an_export_shows_its_folder_and_size_and_is_kept(demo: tuple[Project, str], tmp_path: Path) -> None:
    shown = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        done = materialize(
            demo[0], tmp_path / run, "crops", out=str(tmp_path / "crops"), options={"size": 32, "most": 2}
        )
        assert done.success
        [event] = done.get_asset_materialization_events()
        shown.append({name: value.value for name, value in event.materialization.metadata.items()})
    first, second = shown
    assert first["folder"] == str(tmp_path / "crops")
    assert first["files"] == len([path for path in (tmp_path / "crops").rglob("*") if path.is_file()])
    assert first["megabytes"] > 0
    assert (second["written"], second["there already"]) == (0, first["written"])


@pytest.mark.slow
def test_a_study_is_exported_and_an_option_that_is_none_fails(demo: tuple[Project, str], tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    done = materialize(demo[0], tmp_path / "instance", "anndata", "study", "demo", out=str(tmp_path / "out"))
    assert done.success
    assert {path.name for path in (tmp_path / "out").glob("*.h5ad")} == {"demo.wells.h5ad", "demo.treatments.h5ad"}
    (tmp_path / "other").mkdir()
    failed = materialize(demo[0], tmp_path / "other", "crops", options={"sise": 32})
    [event] = [event for event in failed.all_events if event.is_step_failure]
    assert "options: found sise; expected one of kind" in event.step_failure_data.user_failure_data.description
