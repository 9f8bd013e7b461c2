"""What thousands of plates take, computed from figures: worked by hand, and the page that says it."""

import pytest

from benchmarks.figures import PAGE
from benchmarks.scale import BEGIN, CORES, DOCS, Screen, figure, renewed

# 10 plates of 100 sites at 36 processor seconds: 10 core hours; 1 TB to read; 2 MB of results a site
SCREEN = Screen(plates=10, sites=100, terabytes=1.0, processor=36.0, lake_mb=2.0, orchestrator=5.0, publish=36.0)


def test_one_case_by_hand():
    assert SCREEN.core_hours == pytest.approx(10)
    assert SCREEN.lake_tb == pytest.approx(0.002)
    hours = SCREEN.hours(1)
    assert hours["cores"] == pytest.approx(10 / CORES)
    assert hours["network of the machines"] == pytest.approx(800 / 3600)  # 8e12 bits at 1e10 a second
    assert hours["publishing, once for every ten plates"] == pytest.approx(0.01)
    assert SCREEN.bottleneck(1) == ("cores", pytest.approx(0.625))


def test_with_more_machines_the_bottleneck_moves_to_what_is_done_one_after_the_other():
    assert SCREEN.bottleneck(10)[0] == "cores"
    assert SCREEN.bottleneck(1000)[0] == "publishing, once for every ten plates"


def test_a_figure_that_is_not_there_is_named():
    assert figure("| `a.b` | 2.5 | s |  |", "a.b") == 2.5
    with pytest.raises(KeyError, match=r"a\.c is not in"):
        figure("| `a.b` | 2.5 | s |  |", "a.c")


def test_the_page_is_what_the_figures_give():
    text = DOCS.read_text()
    assert BEGIN in text
    assert text == renewed(text, PAGE.read_text()), "run python -m benchmarks.scale"
