"""The daemon is killed during a back-fill: the run that is at work goes on, and the next daemon starts the others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml

from morpho_assets.simulator import write_gallery
from morpho_assets_tests.killed import project_over, tables_of, undisturbed
from morpho_assets_tests.project import ROOT, Project
from morpho_assets_tests.simulator.conftest import SMALL

pytestmark = pytest.mark.slow
LONG = 300.0


@contextmanager
def running(project: Project, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of Dagster's processes over a project, in a group of its own; nothing of it is left afterwards."""
    with (project.folder / f"{command[0]}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=project.folder, stdout=log, stderr=log,
                                   env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)  # fmt: skip
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < deadline, f"not within {LONG:g} s: {what}"
        time.sleep(0.5)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_back_fill_goes_on_when_the_daemon_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gallery").mkdir()
    plates = write_gallery(tmp_path / "gallery", SMALL.model_copy(update={"plates_per_batch": 3}), seed=3)
    project = project_over(tmp_path / "project", tmp_path / "gallery")
    (project.folder / "data/dagster").mkdir(parents=True)
    for name, value in {"DAGSTER_HOME": str(project.folder), "MORPHO_STATE_DIR": str(project.folder / "data/dagster"),
                        "MORPHO_SETTINGS": str(project.folder / "morpho.yaml")}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = {"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "morpho_assets"}}
    (project.folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [server]}))
    code = ("dagster", "code-server", "start", "--host", "127.0.0.1", "--port", str(port), "--module-name",
            "morpho_assets.definitions")  # fmt: skip
    daemon = ("dagster._daemon", "run", "--workspace", "workspace.yaml")
    with dg.DagsterInstance.get() as instance, running(project, *code):
        instance.add_dynamic_partitions("plate", plates)
        until(lambda: listens(port), "the code is served")
        with running(project, *daemon) as first:
            subprocess.run([sys.executable, "-m", "dagster", "job", "backfill", "--noprompt", "--workspace",
                            "workspace.yaml", "--job", "plate", "--partitions", ",".join(plates)], cwd=project.folder,
                           env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)  # fmt: skip
            until(lambda: project.commit("raw_images", plates[0]) is not None, "the first plate is begun")
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
        assert project.commit("well_profiles", plates[-1]) is None
        with running(project, *daemon):
            until(lambda: all(project.commit("well_profiles", plate) for plate in plates), "all plates are made")
            done = {dg.DagsterRunStatus.SUCCESS}
            until(lambda: {run.status for run in instance.get_runs()} == done, "every run has ended well")
    found = tables_of(project, plates)
    expected = undisturbed(tmp_path / "undisturbed", tmp_path / "gallery", plates)
    assert found.keys() == expected.keys()
    assert all(found[key].equals(expected[key]) for key in expected)
