"""Values that change need a raised code version: what was made by the version before is then stale, as it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from morpho_assets.stages import STAGES
from morpho_assets_tests.outputs import FILE, make_everything, summaries

WRITE = "python -m morpho_assets_tests.outputs"


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return summaries(make_everything(tmp_path_factory.mktemp("outputs")))


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_values_change_with_the_code_version_alone(stage: str, now: dict[str, Any]) -> None:
    kept = json.loads(FILE.read_text()).get(stage)
    assert kept, f"{stage} is new: {WRITE}"
    version = STAGES[stage].code_version
    assert kept["code_version"] == version, f"{stage} has the code version {version}: {WRITE}"
    assert differences(kept["tables"], now[stage]["tables"]) == [], f"raise the code version of {stage}, then {WRITE}"


def differences(kept: Any, now: Any, place: str = "") -> list[str]:
    """Where two summaries differ: numbers by more than one in the sixth digit, anything else at all."""
    if isinstance(kept, dict) and isinstance(now, dict):
        names = sorted(kept.keys() | now.keys())
        return [each for name in names for each in differences(kept.get(name), now.get(name), f"{place}/{name}")]
    if isinstance(kept, list) and isinstance(now, list) and len(kept) == len(now):
        return [
            each for i, pair in enumerate(zip(kept, now, strict=True)) for each in differences(*pair, f"{place}/{i}")
        ]
    if isinstance(kept, float) and isinstance(now, float):
        return [] if now == pytest.approx(kept, rel=2e-6, abs=1e-9) else [f"{place}: {kept} -> {now}"]
    return [] if kept == now else [f"{place}: {kept} -> {now}"]


def test_a_difference_in_the_sixth_digit_is_none_and_in_the_fifth_is_one() -> None:
    assert differences({"a": [1, 0.1234567]}, {"a": [1, 0.1234568]}) == []
    assert differences({"a": [1, 0.12345]}, {"a": [1, 0.12346]}) == ["/a/1: 0.12345 -> 0.12346"]
    assert differences({"a": "x"}, {"a": "y", "b": 1}) == ["/a: x -> y", "/b: None -> 1"]


def test_every_stage_is_kept() -> None:
    assert set(json.loads(Path(FILE).read_text())) == set(STAGES)
