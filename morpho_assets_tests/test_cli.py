"""The command's face: what it says of mistakes, and what it lists. Whole runs are in test_demo.py."""

import io
import os
import signal
import socket

import dagster as dg
import pytest

from morpho_assets.cli import main
from morpho_assets.terminal import TerminalProgress
from morpho_assets_tests.factories import make_stages, write_settings
from morpho_assets_tests.project import make_project


@pytest.fixture
def project(tmp_path, tiny_gallery, monkeypatch):
    project = make_project(tmp_path, tiny_gallery)
    monkeypatch.setenv("MORPHO_SETTINGS", str(project.folder / "morpho.yaml"))
    monkeypatch.setenv("DAGSTER_HOME", str(project.folder))
    monkeypatch.setenv("MORPHO_STATE_DIR", str(project.folder / "data/dagster"))
    return project


def test_plates_are_listed_and_registered(project, capsys):
    assert main(["plates", "list"]) == 0
    assert capsys.readouterr().out == "SYN00000001\tnot registered\nSYN00000002\tnot registered\n"
    assert main(["plates", "add", "SYN00000002"]) == 0
    assert capsys.readouterr().out == "SYN00000001\tnot registered\nSYN00000002\tregistered\n"
    assert main(["plates", "add"]) == 0
    assert "not registered" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plates", "add", "BR00116991"], "plate BR00116991: found no such plate in the sources demo"),
        (["sql", "SELECT 1"], "found no catalog"),
        (["run"], "neither --plate nor --study"),
        (["--settings", "/none.yaml", "sql", "SELECT 1"], "/none.yaml: found no such file"),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_1(project, capsys, arguments, message, monkeypatch):
    monkeypatch.setenv("MORPHO_STATE_DIR", str(project.folder / "data/dagster"))
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("morpho: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_an_unknown_command_shows_what_there_is(project, capsys):
    with pytest.raises(SystemExit):
        main(["fly"])
    assert "invalid choice: 'fly'" in capsys.readouterr().err


def test_progress_without_a_terminal_is_a_line_when_a_piece_of_work_is_done(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    with TerminalProgress() as progress:
        progress.title("plate P1")
        for done in range(3):
            progress("masks", done, 2)
    lines = out.getvalue().splitlines()
    assert lines[0] == "plate P1"
    assert len(lines) == 2
    assert "2 of 2" in lines[1]


def test_progress_of_nothing_is_no_line(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    with TerminalProgress() as progress:
        progress("masks", 0, 0)
    assert "masks" in out.getvalue()
    assert "0 of 0" in out.getvalue()


def test_a_plan_says_what_would_be_made_and_why_and_how_old_the_look_is(project, capsys, quick_stages):
    main(["plates", "add", "SYN00000001"])
    capsys.readouterr()
    assert main(["plan"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("SYN00000001:  (nobody has looked at its sources")
    assert "plate_manifest" in first
    assert "missing" in first
    make_stages(project.workspace, "SYN00000001")
    write_settings(project.folder, measurement="jump")
    assert main(["plan", "--plate", "SYN00000001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "looked at 0.0 hours ago" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["single_cells", "well_profiles"]
    assert "`measurement" in lines[1]
    assert "after single_cells" in lines[2]


def test_the_status_has_a_row_per_plate(project, capsys, quick_stages):
    main(["plates", "add", "SYN00000001", "SYN00000002"])
    make_stages(project.workspace, "SYN00000001", ["plate_manifest", "raw_images"])
    capsys.readouterr()
    assert main(["status"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "SYN" in line]
    assert "raw_images" in rows[0]
    assert "illumination: missing" in rows[0]
    assert "plate_manifest: missing" in rows[1]


def test_a_plate_is_taken_out_and_a_slip_is_told(project, capsys):
    main(["plates", "add", "SYN00000002"])
    assert main(["plates", "remove", "SYN00000002"]) == 0
    capsys.readouterr()
    assert main(["plates", "remove", "SYN00000002"]) == 1
    assert "no registered plate" in capsys.readouterr().err


def test_a_gate_that_is_not_closed_cannot_be_waived(project, capsys, quick_stages):
    make_stages(project.workspace, "SYN00000001", ["plate_manifest", "raw_images"])
    assert main(["waive", "few_failed_sites", "--plate", "SYN00000001", "--reason", "none"]) == 1
    assert "no such gate is closed" in capsys.readouterr().err


def test_a_busy_port_is_told_before_anything_starts(project, capsys):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert main(["ui", "--port", str(server.getsockname()[1])]) == 1
    assert "somebody who answers there already" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_run_is_cancelled_without_a_traceback(project):
    process = project.start("run", "--plate", "SYN00000001")
    assert process.stdout is not None
    for line in process.stdout:
        if "image_quality" in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert "the same command goes on from there" in output
    with dg.DagsterInstance.from_config(str(project.folder)) as instance:
        [run] = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.CANCELED
        assert {key.to_user_string() for key in run.asset_selection} >= {"plate_manifest", "masks"}
    assert "SYN00000001" in project.run("run", "--plate", "SYN00000001")
