"""YAML files as models: what stays text, and what is said of keys that do not fit."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from morpho_assets.errors import InputError
from morpho_assets.yaml_files import read_yaml


class Square(BaseModel):
    """A shape with one side."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["square"]
    side: float = 1.0


class Circle(BaseModel):
    """A shape with a radius."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["circle"]
    radius: float = 1.0


class Drawing(BaseModel):
    """What the tests read."""

    model_config = ConfigDict(extra="forbid")
    plates: Literal["all"] | tuple[str, ...] = "all"
    width: float = 1.0
    pages: int = 1
    final: bool = False
    shapes: tuple[Annotated[Square | Circle, Field(discriminator="kind")], ...] = ()


def read(tmp_path, text):
    file = tmp_path / "drawing.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(Drawing, file)


NAMES = [
    "0042",
    "1E5",
    "001",
    "12E3",
    "1053601756",
    "2020_11_04",
    "2020-11-04",
    "1.50",
    "1.5",
    "no",
    "ON",
    "0x1F",
    "1:30",
    "-7",
    "0o17",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_as_it_is_written(tmp_path, name):
    assert read(tmp_path, f"plates: [{name}, BR1]").plates == (name, "BR1")


@given(st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,11}", fullmatch=True))
def test_so_does_every_barcode(tmp_path_factory, name):
    if name.lower() not in ("null", "true", "false", "n", "y"):
        assert read(tmp_path_factory.mktemp("yaml"), f"plates: [{name}]").plates == (name,)


def test_numbers_and_truth_are_read_where_they_are_wanted(tmp_path):
    found = read(tmp_path, "{width: 1e-3, pages: 12, final: yes}")
    assert (found.width, found.pages, found.final) == (0.001, 12, True)
    assert read(tmp_path, "{width: 0.250, pages: 0, final: true}").width == 0.25
    assert read(tmp_path, "width: .inf").width == float("inf")
    assert read(tmp_path, "") == Drawing()


def test_every_wrong_key_is_told_with_what_was_probably_meant(tmp_path):
    text = "{widht: 1, pages: x, shapes: [{kind: square, sied: 2}, {kind: circel}]}"
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    faults = {fault.where: fault for fault in (error.value, *error.value.others)}
    assert set(faults) == {"key widht", "key pages", "key shapes.0.square.sied", "key shapes.1"}
    assert faults["key widht"].do == "Did you mean width?"
    assert faults["key shapes.0.square.sied"].expected == "one of kind, side"
    assert faults["key shapes.0.square.sied"].do == "Did you mean side?"
    assert faults["key shapes.1"].do == "Did you mean circle?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plates: [", "no readable YAML"),
        ("pages: 1\npages: 2\n", "the key pages comes twice"),
        ("- a\n- b\n", "found a list at the top"),
        ("word", "found a str at the top"),
        (b"\xff\xfe\x00", "no readable YAML"),
        (b"pages: \xb5", "no readable YAML"),
        ("[" * 3000, "no readable YAML"),
        ("pages: !!python/object/apply:os.getcwd []", "no readable YAML"),
    ],
)
def test_what_is_no_yaml_of_ours_is_one_message(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(InputError, match=r"found no such file; .*`morpho init` writes one"):
        read_yaml(Drawing, tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(Drawing, tmp_path)
