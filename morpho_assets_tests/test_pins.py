"""The pins: what holds where, and what the check finds wrong. Whether there are wheels, `make check-pins` asks."""

from __future__ import annotations

import json
import tomllib
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import pins as ours
from benchmarks.pins import TARGETS, allows, ask, check, misfits, pinned
from morpho_assets_tests.project import ROOT

LINUX = next(target for target in TARGETS if (target.python, target.name) == ("3.12", "x86-64 Linux"))
LINES = [line for name in ours.FILES for line in (ROOT / name).read_text().splitlines()]


def named(target: ours.Target) -> str:
    return f"{target.python}, {target.name}"


def test_four_pythons_on_three_platforms() -> None:
    assert len({named(target) for target in TARGETS}) == 12


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_all_that_the_project_names_is_pinned_everywhere(target: ours.Target) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    required = [Requirement(text) for text in texts if not text.startswith("morpho-assets")]
    pins = pinned(LINES, target)
    assert list(misfits(required, {}, pins, target)) == []
    assert {"torch", "numpy", "cellpose", "watchdog"} <= set(pins)


def test_a_marker_is_evaluated_for_the_target_and_not_for_this_machine() -> None:
    lines = ['a==1; python_version < "3.13"', 'a==2; python_version >= "3.13"', 'b==1; platform_machine == "arm64"']
    found = {
        named(target): {name: str(pin.specifier) for name, pin in pinned(lines, target).items()} for target in TARGETS
    }
    assert found["3.11, x86-64 Linux"] == {"a": "==1"}
    assert found["3.14, arm64 macOS"] == {"a": "==2", "b": "==1"}


@pytest.mark.parametrize(("lines", "told"), [(["a>=1"], "found no exact version"), (["a==1", "A==2"], "pinned twice")])
def test_what_is_no_pin_is_told(lines: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        pinned(lines, LINUX)


def test_what_is_missing_or_does_not_fit_is_found_through_the_metadata() -> None:
    pins = pinned(["a==1", "b==2", "torch==3"], LINUX)
    metadata = {
        "a": {"requires_dist": ["b<2", 'c; extra == "more"', 'd; python_version < "3.12"', "Torch"]},
        "b": {"requires_dist": ["a"]},
        "torch": {"requires_dist": ["nvidia-cublas", "e"]},
    }
    plain = sorted(misfits([Requirement("a")], metadata, pins, LINUX))
    assert [words for *_, words in plain] == ["a asks for b<2, and 2 is pinned", "torch needs e, which is not pinned"]
    more = {words for *_, words in misfits([Requirement("a[more]")], metadata, pins, LINUX)}
    assert more - {words for *_, words in plain} == {"a needs c, which is not pinned"}


def test_a_wheel_for_every_platform_is_not_for_every_python() -> None:
    assert allows({}, "3.14")
    assert allows({"requires_python": "<3.15,>=3.10"}, "3.14")
    assert not allows({"requires_python": "<3.14"}, "3.14")


class Index:
    """In the place of pip: an index that has wheels of some names, those in `plain` for every platform."""

    def __init__(self, names: set[str], plain: set[str]) -> None:
        self.names, self.plain, self.asked = names, plain, list[list[str]]()

    def run(self, command: list[str], **_: object) -> SimpleNamespace:
        wanted = [part for part in command if "==" in part]
        self.asked.append(wanted)
        for pin in wanted:
            if pin.split("==")[0] not in self.names:
                return SimpleNamespace(returncode=1, stdout="", stderr=f"No matching distribution found for {pin}\n")
        found = [
            {
                "metadata": {"name": name},
                "download_info": {"url": f"https://x/{name}-1-{'py3-none-any' if name in self.plain else 'cp3'}.whl"},
            }
            for name in (pin.split("==")[0] for pin in wanted)
        ]
        return SimpleNamespace(returncode=0, stdout=json.dumps({"install": found}), stderr="")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index({"a", "b"}, {"a"})
    monkeypatch.setattr(ours, "subprocess", SimpleNamespace(run=made.run))
    return made


def test_every_pin_without_a_wheel_is_named_and_the_others_still_asked_for(index: Index) -> None:
    missing, reports = ask(LINUX, ["x==1", "a==1", "y==1", "b==1"], wait=1)
    assert missing == ["x==1", "y==1"]
    assert [each["metadata"]["name"] for each in reports] == ["a", "b"]
    assert ask(LINUX, ["x==1"], wait=1) == (["x==1"], [])


def test_a_wheel_for_every_platform_is_asked_for_once(index: Index) -> None:
    answers = check(["a==1", "b==1", 'x==1; python_version == "3.14"'], [Requirement("a"), Requirement("x")], wait=1)
    assert len(answers) == len(TARGETS)
    assert index.asked[0] == ["a==1", "b==1"]
    assert index.asked[1] == ["b==1"]
    assert [answer.missing for answer in answers] == [[]] * 9 + [["x==1"]] * 3
    assert answers[0].wrong == ["morpho-assets needs x, which is not pinned"]


def test_what_pip_says_besides_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SimpleNamespace(returncode=2, stdout="", stderr="no such option: --use-feature")
    monkeypatch.setattr(ours, "subprocess", SimpleNamespace(run=lambda *_, **__: failed))
    with pytest.raises(RuntimeError, match="no such option"):
        ask(LINUX, ["a==1"], wait=1)


def test_reasons_are_given_only_for_what_is_pinned() -> None:
    names = {canonicalize_name(Requirement(line).name) for line in LINES if line and not line.startswith("#")}
    assert {name for pair in ours.OUTSIDE for name in pair} <= names
