"""The folder of an export: nothing half-written under its name, what is whole is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from morpho_assets.errors import InputError, MorphoError
from morpho_assets.export.written import Written


def text(said: str):
    return lambda path: path.write_text(said)


def tree(path: Path) -> None:
    path.mkdir()
    (path / "a").write_text("1")


def test_a_file_is_made_once_from_the_same(tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        assert out.put("x/a.txt", [1], text("one"))
        assert not out.put("x/a.txt", [1], text("two"))
    with Written.opened(tmp_path) as out:
        assert not out.put("x/a.txt", [1], text("two"))
        assert out.put("x/a.txt", [2], text("three"))
        assert (out.made, out.kept) == (1, 1)
    assert (tmp_path / "x/a.txt").read_text() == "three"


def test_one_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        out.put("a", [1], text("one"))
        (tmp_path / "a").unlink()
        assert out.put("a", [1], text("one"))


def test_a_folder_is_exchanged_whole(tmp_path: Path) -> None:
    with Written.opened(tmp_path) as out:
        out.put("plate", [1], tree)
        (tmp_path / "plate/old").write_text("old")
        out.put("plate", [2], tree)
    assert [path.name for path in (tmp_path / "plate").iterdir()] == ["a"]


def test_what_fails_or_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        raise OSError("the disk is full")

    with Written.opened(tmp_path) as out:
        out.put("a", [1], text("one"))
        with pytest.raises(OSError, match="full"):
            out.put("a", [2], half)
        with pytest.raises(OSError, match="full"):
            out.put("b", [1], half)
    assert (tmp_path / "a").read_text() == "one"
    assert not (tmp_path / "b").exists()
    with open(tmp_path / "export.jsonl", "a") as log:
        log.write('{"name": "b", "made')  # a run was killed
    with Written.opened(tmp_path) as out:
        assert out.put("b", [1], text("two"))
    with Written.opened(tmp_path) as out:
        assert not out.put("b", [1], text("two"))
        assert not out.put("a", [1], text("one"))
    assert not (tmp_path / ".aside").exists() or not list((tmp_path / ".aside").iterdir())


def test_one_export_at_a_time(tmp_path: Path) -> None:
    with Written.opened(tmp_path), pytest.raises(MorphoError, match="another export"), Written.opened(tmp_path):
        pass


@pytest.mark.parametrize(
    ("place", "message"), [("s3://bucket/x", "a folder of this machine"), ("file", "which is a file")]
)
def test_a_place_that_is_no_folder_is_refused(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "file").write_text("")
    where = place if "://" in place else tmp_path / place
    with pytest.raises(InputError, match=message), Written.opened(where):
        pass


def test_a_set_of_files_is_whole_or_made_again_and_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    def both(path: Path) -> None:
        for name in ("x", "y"):
            (path / name).mkdir()
            (path / name / "a").write_text(name)

    def one(path: Path) -> None:
        (path / "x").mkdir()
        (path / "x/a").write_text("new")

    with Written.opened(tmp_path) as out:
        assert out.put_all("site", [1], both)
        assert not out.put_all("site", [1], one)
        assert out.files("site") == ["x/a", "y/a"]
        (tmp_path / "y/a").unlink()
        assert out.put_all("site", [1], both)
    with Written.opened(tmp_path) as out:
        assert out.put_all("site", [2], one)
        assert out.files("site") == ["x/a"]
        assert out.files("another") == []
    assert (tmp_path / "x/a").read_text() == "new"
    assert not (tmp_path / "y/a").exists()


def test_a_set_without_files_is_whole_too(tmp_path: Path) -> None:
    for made in (True, False):
        with Written.opened(tmp_path) as out:
            assert out.put_all("empty", [1], lambda path: None) is made
