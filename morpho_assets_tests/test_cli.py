"""The command's face: what it says of mistakes, and what it lists. Whole runs are in test_demo.py."""

import io

import pytest

from morpho_assets.cli import main
from morpho_assets.terminal import TerminalProgress
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
