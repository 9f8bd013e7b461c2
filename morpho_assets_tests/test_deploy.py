"""What deploy/ ships: read by the libraries that will read it, closed to all but this machine, and run for real."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from morpho_assets import cluster
from morpho_assets.cluster import DaskConfig
from morpho_assets.compute import map_items
from morpho_assets.settings import load_settings
from morpho_assets.simulator import write_gallery
from morpho_assets_tests.object_store import ObjectStore
from morpho_assets_tests.project import ROOT, Project
from morpho_assets_tests.simulator.conftest import SMALL
from morpho_assets_tests.stormy import project_in, put_gallery

DEPLOY = ROOT / "deploy"
PLATE = "SYN00000001"


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


# Closed by default


def test_every_port_is_of_this_machine_alone_and_viewers_start_nothing() -> None:
    services = compose()["services"]
    ports = {name: port for name, service in services.items() for port in service.get("ports", [])}
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports.values())
    assert "--read-only" in services["webserver"]["command"]
    assert services["operator"]["profiles"] == ["operator"]  # not started unless somebody asks for it
    assert "ports" not in services["database"]


@pytest.mark.parametrize("file", [ROOT / "morpho_assets/cli.py", ROOT / "Makefile", ROOT / "README.md",
                                  *sorted((ROOT / "docs").glob("*.md"))], ids=lambda file: file.name)  # fmt: skip
def test_nothing_else_that_is_shipped_listens_to_others(file: Path) -> None:
    assert "0.0.0.0" not in file.read_text()


def test_no_file_holds_a_password() -> None:
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            for name, value in re.findall(r"(\w*(?:PASSWORD|SECRET|KEY)\w*): *(\S+)", file.read_text()):
                assert value.startswith(("${", "{env:")), (file, name)


def test_the_image_runs_as_nobody_of_rights_with_pinned_packages() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert re.fullmatch("USER [1-9][0-9]+", lines[-1])  # Kubernetes refuses a name where nobody may be root
    pins = (ROOT / "constraints-dev.txt").read_text()
    [names] = re.findall(r"'\^\((.*)\)=='", "\n".join(lines))
    for name in names.split("|"):
        assert re.search(rf"^{name}==", pins, re.MULTILINE), name
    for name in re.findall(r"COPY (.*) \./source", "\n".join(lines))[0].split():
        assert (ROOT / name).exists()


# Read by those who will read it


def test_the_commands_of_the_services_are_those_of_the_installed_programs() -> None:
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import dagster_webserver

    programs = {
        "dagster": create_dagster_cli(),
        "dagster-daemon": create_dagster_daemon_cli(),
        "dagster-webserver": dagster_webserver,
    }
    asked = [service["command"] for service in compose()["services"].values() if "command" in service]
    asked += [service["healthcheck"]["test"][1:] for name, service in compose()["services"].items() if name == "code"]
    assert len(asked) == 5
    for program, *words in asked:
        command = programs[program]
        while hasattr(command, "commands") and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        command.make_context(program, list(words), resilient_parsing=False)  # raises for what it does not know


def test_the_instances_of_one_machine_and_of_many_differ_in_their_storage_alone() -> None:
    one, many = (yaml.safe_load(file.read_text()) for file in (ROOT / "dagster.yaml", DEPLOY / "dagster.yaml"))
    assert {**many, "storage": one["storage"]} == one


def test_dagster_reads_the_instance_and_the_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dagster._core.instance.config import dagster_instance_config
    from dagster._core.workspace.config_schema import process_workspace_config

    monkeypatch.setenv("MORPHO_STATE_DIR", str(tmp_path))
    settings, _ = dagster_instance_config(str(DEPLOY))  # raises for a key that Dagster does not know
    assert "postgres" in settings["storage"]
    read = process_workspace_config(yaml.safe_load((DEPLOY / "workspace.yaml").read_text()))
    assert read.success, read.errors
    [entry] = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    command = compose()["services"]["code"]["command"]
    assert str(entry["grpc_server"]["port"]) == command[command.index("--port") + 1]
    assert entry["grpc_server"]["host"] in compose()["services"]


@pytest.mark.parametrize("file", ["morpho.yaml", "slurm/morpho.yaml"])
def test_the_settings_are_settings(file: str) -> None:
    settings = load_settings(DEPLOY / file)
    assert settings.sources
    assert "secret" not in settings.lake_options


CHART = {
    "": {"dagsterWebserver", "dagster-user-deployments", "runLauncher", "dagsterDaemon", "telemetry", "postgresql",
         "generatePostgresqlPasswordSecret"},
    "dagsterWebserver": {"enableReadOnly", "service"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "deployment": {"name", "image", "dagsterApiGrpcArgs", "codeServerArgs", "includeConfigInLaunchedRuns", "port",
                   "env", "envConfigMaps", "envSecrets", "annotations", "nodeSelector", "affinity", "tolerations",
                   "podSecurityContext", "securityContext", "resources", "labels", "volumeMounts", "volumes"},
    "k8sRunLauncher": {"image", "imagePullPolicy", "jobNamespace", "loadInclusterConfig", "kubeconfigFile",
                       "envConfigMaps", "envSecrets", "envVars", "volumeMounts", "volumes", "labels",
                       "failPodOnRunFailure", "resources", "schedulerName", "securityContext", "runK8sConfig"},
    "runK8sConfig": {"containerConfig", "podSpecConfig", "podTemplateSpecMetadata", "jobSpecConfig", "jobMetadata"},
    "dagsterDaemon": {"runCoordinator", "runMonitoring", "runRetries"},
    "queuedRunCoordinator": {"maxConcurrentRuns", "tagConcurrencyLimits", "dequeueIntervalSeconds",
                             "dequeueNumWorkers", "dequeueUseThreads"},
    "postgresql": {"enabled", "postgresqlHost", "postgresqlUsername", "postgresqlPassword", "postgresqlDatabase",
                   "postgresqlParams", "postgresqlScheme", "service"},
}  # fmt: skip
"""Keys that Dagster's chart knows, by section; it refuses others in most of them."""


def test_the_values_of_kubernetes_are_of_keys_that_the_chart_knows() -> None:
    values = yaml.safe_load((DEPLOY / "kubernetes/values.yaml").read_text())
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    [code] = values["dagster-user-deployments"]["deployments"]
    coordinator = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    found = {"": values, "deployment": code, "k8sRunLauncher": launcher, "queuedRunCoordinator": coordinator,
             "runK8sConfig": launcher["runK8sConfig"], **values}  # fmt: skip
    for section, known in CHART.items():
        assert set(found[section]) <= known, section


def test_the_values_of_kubernetes_start_what_the_image_has() -> None:
    values = yaml.safe_load((DEPLOY / "kubernetes/values.yaml").read_text())
    [code] = values["dagster-user-deployments"]["deployments"]
    assert code["dagsterApiGrpcArgs"] == ["--module-name", "morpho_assets.definitions"]
    assert values["dagsterWebserver"]["enableReadOnly"] is True
    coordinator = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    one = yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    assert coordinator["tagConcurrencyLimits"] == one
    account = (DEPLOY / "Dockerfile").read_text().splitlines()[-1].removeprefix("USER ")
    assert str(code["podSecurityContext"]["fsGroup"]) == account


def test_on_kubernetes_what_is_written_lies_where_it_can_be_and_the_catalog_where_all_see_it() -> None:
    values = yaml.safe_load((DEPLOY / "kubernetes/values.yaml").read_text())
    [code] = values["dagster-user-deployments"]["deployments"]
    [file] = [each["value"] for each in code["env"] if each["name"] == "MORPHO_SETTINGS"]
    mounts = {each["mountPath"]: each for each in code["volumeMounts"]}
    assert "subPath" in mounts[file]  # a folder of settings is read-only, and what they name lies beside them
    settings = yaml.safe_load((DEPLOY / "morpho.yaml").read_text())
    folder = str((Path(file).parent / settings["catalog"]).parent)
    claims = {each["name"]: each["persistentVolumeClaim"]["claimName"] for each in code["volumes"]
              if "persistentVolumeClaim" in each}  # fmt: skip
    claim = yaml.safe_load((DEPLOY / "kubernetes/catalog.yaml").read_text())
    assert claims[mounts[folder]["name"]] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


# Run for real


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL server on loopback in a folder of its own; what deploy/dagster.yaml reads from the environment."""
    binaries = Path(os.path.realpath(shutil.which("pg_ctl") or "/")).parent
    if not (binaries / "initdb").exists():
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    account = {} if os.geteuid() else {"user": "nobody"}  # it refuses to run as root
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        secret = Path(folder) / "secret"
        secret.write_text("only-for-this-test")
        if account:
            for path in (Path(folder), secret):
                shutil.chown(path, "nobody")
        data = f"{folder}/data"

        def run(program: str, *arguments: str) -> None:
            subprocess.run([str(binaries / program), *arguments], check=True, stdout=subprocess.DEVNULL,
                           cwd=folder, env={"PATH": os.defpath, "LC_ALL": "C"}, **account)  # type: ignore[call-overload]  # fmt: skip

        run("initdb", "--pgdata", data, "--username", "dagster", "--auth", "scram-sha-256", "--pwfile", str(secret),
            "--encoding", "UTF8")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "--pgdata", data, "--log", f"{folder}/log", "--wait", "-o", options, "start")
        try:
            yield {"DAGSTER_POSTGRES_HOST": "127.0.0.1", "DAGSTER_POSTGRES_USER": "dagster",
                   "DAGSTER_POSTGRES_PASSWORD": secret.read_text(), "DAGSTER_POSTGRES_DB": "postgres",
                   "port": str(port)}  # fmt: skip
        finally:
            run("pg_ctl", "--pgdata", data, "--mode", "immediate", "--wait", "stop")


@pytest.mark.slow
def test_a_plate_is_made_with_its_state_in_postgres_and_all_else_in_an_object_store(
    tmp_path: Path, postgres: dict[str, str], object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As deploy/ ships it: on this machine there is nothing afterwards but the catalog's working copy."""
    (tmp_path / "gallery").mkdir()
    write_gallery(tmp_path / "gallery", SMALL, seed=3)
    put_gallery(object_store, "deployed", tmp_path / "gallery")
    copy = "s3://deployed/morpho.duckdb"
    project = project_in(object_store, tmp_path / "project", "deployed", catalog_copy=copy, images={"policy": "stream"})
    shutil.copy(DEPLOY / "dagster.yaml", project.folder)
    port = postgres.pop("port")
    instance = project.folder / "dagster.yaml"
    instance.write_text(instance.read_text().replace("port: 5432", f"port: {port}"))
    for name, value in postgres.items():
        monkeypatch.setenv(name, value)
    project.run("run", "--plate", PLATE)
    assert "registered" in project.run("plates", "list")
    runs = _stored_runs(project, postgres, port)
    assert runs
    assert set(runs.values()) == {"SUCCESS"}
    assert not list((project.folder / "data/dagster").rglob("*.db"))  # no SQLite beside it
    assert not list((project.folder / "data/images").rglob("*.tiff"))
    assert not (project.folder / "data/lake").exists()
    body = object_store.client.get_object(Bucket="deployed", Key="morpho.duckdb")["Body"].read()
    (tmp_path / "copy.duckdb").write_bytes(body)
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM normalized_profiles").fetchone() == (8,)


def _stored_runs(project: Project, postgres: dict[str, str], port: str) -> dict[str, str]:
    import psycopg2

    connection = psycopg2.connect(
        host=postgres["DAGSTER_POSTGRES_HOST"], user=postgres["DAGSTER_POSTGRES_USER"], port=port,
        password=postgres["DAGSTER_POSTGRES_PASSWORD"], dbname=postgres["DAGSTER_POSTGRES_DB"],
    )  # fmt: skip
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT run_id, status FROM runs")
            return dict(cursor.fetchall())
    finally:
        connection.close()


SBATCH = """#!/bin/sh
# As Slurm's: takes a script, says its number, and runs it by itself.
for script; do :; done
echo "$script" >> {folder}/submitted
cp "$script" {folder}/script
setsid sh {folder}/script > {folder}/job.log 2>&1 &
echo $! > {folder}/pid
echo "Submitted batch job 4711"
"""
SCANCEL = """#!/bin/sh
kill -- -$(cat {folder}/pid)
echo "$@" > {folder}/cancelled
"""


@pytest.mark.slow
def test_sites_go_to_jobs_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's two commands are scripts here that run the job on this machine; all else is dask-jobqueue and Dask."""
    from morpho_assets_tests.test_compute import square

    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shipped = yaml.safe_load((DEPLOY / "slurm/morpho.yaml").read_text())["compute"]["cluster"]
    here = {"cores": 1, "jobs": 1, "interface": "lo", "memory": "1GB", "shared": str(tmp_path), "prologue": [],
            "python": sys.executable}  # fmt: skip
    compute = DaskConfig(kind="dask", cluster={**shipped, **here}, batch=8)
    try:
        found = dict(map_items(square, [1, 2, 4], compute, label="squares"))
        assert cluster.connected(compute).scheduler.address.startswith("tls://127.0.0.1")
    finally:
        cluster.release()
    assert found == {1: 1, 2: 4, 4: 16}
    script = (tmp_path / "script").read_text()
    for line in (
        "#SBATCH -p normal",
        "#SBATCH -t 08:00:00",
        "#SBATCH --exclusive",
        "distributed.cli.dask_worker tls://",
    ):
        assert line in script, script
    assert (tmp_path / "cancelled").read_text().strip() == "4711"
