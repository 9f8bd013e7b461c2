"""Patterns against fsspec's glob over a tree of folders, and what it does not do: tell of a listing that fails."""

import fsspec
import pytest

from morpho_assets.gallery.patterns import matching
from morpho_assets.gallery.store import Store
from morpho_assets_tests.factories import write

TREE = ("a.txt", "b1/P1/load_data.csv", "b1/P1/load_data_with_illum.csv", "b1/P2/load_data.csv", "b1/load_data",
        "b2/P1/load_data.csv.gz", "b2/P3/x/y/deep.csv", "b2/[odd] ?name/load_data.csv",
        "b2/.hidden/load_data.csv")  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    for name in TREE:
        write(tmp_path / name, name)
    return tmp_path


PATTERNS = ("*", "*/*", "*/*/load_data*", "b1/*/load_data.csv", "*/P1/load_data*", "a.txt", "b1/P1", "nothing",
            "nothing/*", "*.txt", "b*/P?/*", "b2/**", "**/*.csv", "b2/**/*", "**/load_data*", "b2/[odd] ?name/*",
            "a.txt/*", "b1/P1/*.csv", "*/*d*")  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_they_match_what_fsspec_matches(tree, pattern):
    literal = f"{tree}/{pattern}".replace("[", "[[]").replace("?", "[?]")
    expected = fsspec.filesystem("file").glob(literal, detail=True)
    found = Store()._matching(f"{tree}/{pattern}")
    assert list(found) == sorted(path for path in expected if path != f"{tree}/b2" or pattern != "b2/**")
    assert all(found[path]["size"] == expected[path]["size"] for path in found if found[path]["type"] == "file")


def test_a_listing_that_fails_is_no_empty_folder():
    def listing(folder):
        if folder == "root/b":
            raise TimeoutError("the network")
        return [{"name": f"{folder}/{name}", "type": "directory" if folder == "root" else "file"} for name in "abc"]

    with pytest.raises(TimeoutError):
        matching("root/*/a", listing)
    assert list(matching("root/a/*", listing)) == ["root/a/a", "root/a/b", "root/a/c"]


def test_a_folder_on_a_bad_network_is_listed_whole_or_told(object_store):
    object_store.create("patterns")
    for name in TREE[:4]:
        object_store.put("patterns", name, b"x")
    store = Store(endpoint_url=object_store.url, retries=3)
    expected = store.glob("s3://patterns/*/*/load_data*")
    assert len(expected) == 3
    for at in range(6):
        with object_store.network.spoil(*[None] * at, "refused"):
            assert store.glob("s3://patterns/*/*/load_data*") == expected
