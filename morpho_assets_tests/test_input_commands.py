"""The commands about what goes in, as a terminal user runs them."""

import pytest

from morpho_assets.cli import main
from morpho_assets_tests.factories import write, write_mirror
from morpho_assets_tests.test_check import WELLS, settings


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    """The command sets variables for Dagster; they end with the test."""
    for name in ("MORPHO_SETTINGS", "DAGSTER_HOME", "MORPHO_STATE_DIR", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, str(tmp_path / "state"))


def morpho(folder, *arguments):
    return main(["--settings", str(folder / "morpho.yaml"), *map(str, arguments)])


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_check_shows_a_table_and_writes_nothing(tmp_path, capsys):
    write_mirror(tmp_path / "mirror", WELLS)
    settings(tmp_path)
    before = files(tmp_path)
    assert morpho(tmp_path, "check") == 0
    assert "No fault was found." in capsys.readouterr().out
    assert files(tmp_path) == before
    assert morpho(tmp_path, "check", "--plate", "P9") == 1
    assert "1. morpho check --plate, plate P9\n   found     the plates P1" in capsys.readouterr().out


def test_check_finds_nothing_wrong_with_the_synthetic_gallery(tmp_path, tiny_gallery, capsys):
    place = {"root": str(tiny_gallery), "project": "cpg9999-synthetic", "source": "source_0"}
    settings(tmp_path, sources=[{"name": "demo", "kind": "gallery", **place}])
    assert morpho(tmp_path, "check", "--all") == 0
    assert "18 of 18" in capsys.readouterr().out


def test_check_of_wrong_settings_tells_them_all(tmp_path, capsys):
    write(tmp_path / "morpho.yaml", "failed_sites: 2\nimagess: {}\n")
    assert morpho(tmp_path, "check") == 1
    assert "2 faults." in capsys.readouterr().out


def test_init_writes_settings_that_check_finds_good(tmp_path, capsys):
    write_mirror(tmp_path / "mirror", {**WELLS, "C01": "", "C02": ""})  # fewer controls are no scale for a plate
    assert morpho(tmp_path, "init", tmp_path / "mirror") == 0
    assert f"wrote     {tmp_path}/morpho.yaml\nnext: morpho check" in capsys.readouterr().out
    assert morpho(tmp_path, "check") == 0
    assert morpho(tmp_path, "init", tmp_path / "mirror") == 1
    assert "a file that is there already" in capsys.readouterr().err


def test_init_without_a_place_asks_where_somebody_is_there(tmp_path, capsys, monkeypatch):
    write_mirror(tmp_path / "mirror", WELLS)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: f"{tmp_path}/mirror ")
    assert morpho(tmp_path, "init") == 0


def test_init_without_a_place_and_anybody_to_ask_begins_with_the_demo(tmp_path, capsys):
    assert morpho(tmp_path, "init") == 0
    written = [f"wrote     {tmp_path}/{name}" for name in ("morpho.yaml", "dagster.yaml")]
    assert capsys.readouterr().out.splitlines() == [*written, "next: morpho demo"]
    assert files(tmp_path) == ["dagster.yaml", "morpho.yaml"]
    assert morpho(tmp_path, "init") == 1
    assert "a file that is there already" in capsys.readouterr().err


def test_samplesheet_shows_what_it_understood_and_writes_where_it_is_told(tmp_path, capsys):
    for well in ("A01", "B02"):
        for w in (1, 2):
            write(tmp_path / f"P1/P1_{well}_s1_w{w}.tif", "II*")
    before = files(tmp_path)
    assert morpho(tmp_path, "samplesheet", tmp_path / "P1") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("4 images by ImageXpress's names")
    assert "nothing was written" in shown
    assert files(tmp_path) == before
    names = ("--channel", "1=DNA", "--channel", "2=ER")
    assert morpho(tmp_path, "samplesheet", tmp_path / "P1", "--out", tmp_path / "s.csv", *names) == 0
    head, first, *_ = (tmp_path / "s.csv").read_text().splitlines()
    assert head == "channel,path,source,batch,plate,well,site,row,col"
    assert first == f"DNA,{tmp_path}/P1/P1_A01_s1_w1.tif,lab,none,P1,A01,1,1,1"
    assert morpho(tmp_path, "samplesheet", tmp_path / "P1", "--out", tmp_path / "s.csv") == 1
    out = tmp_path / "load_data.csv"
    assert morpho(tmp_path, "samplesheet", tmp_path / "P1", "--out", out, "--load-data", *names) == 0
    assert out.read_text().startswith("URL_OrigDNA,URL_OrigER,Metadata_Plate,Metadata_Well,Metadata_Site\n")


@pytest.mark.parametrize("channels", [["1"], ["1="], ["1=DNA", "2=DNA"]])
def test_channels_that_say_nothing_or_the_same_are_refused(tmp_path, capsys, channels):
    given = [word for channel in channels for word in ("--channel", channel)]
    assert morpho(tmp_path, "samplesheet", tmp_path, *given) == 1
    assert "Such as --channel 1=DNA." in capsys.readouterr().err
