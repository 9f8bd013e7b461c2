"""What thousands of plates take, computed from figures: worked by hand, and the page that says it."""

import pytest

from benchmarks.figures import PAGE
from benchmarks.scale import BEGIN, CORES, DOCS, SHARE, WHOLE, Screen, figure, renewed, section

# 10 plates of 100 sites at 36 processor seconds: 10 core hours; 1 TB to read; 2 MB of results a site
SCREEN = Screen(plates=10, sites=100, terabytes=1.0, processor=36.0, lake_mb=2.0, orchestrator=0.05, publish=36.0)


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


PARTS = "\n".join(f"| `{name}` | {value} | s |  |" for name, value in (
    ("ledger.publish_one_seconds", 4.3), ("segmentation.cellpainting_seconds", 1.6), ("measure.seconds_per_site", 0.4)
))  # fmt: skip


def test_where_no_plate_was_measured_its_parts_and_an_assumption_stand_in():
    assert Screen.jump(PARTS).processor == pytest.approx(2)
    assert Screen.jump(PARTS).orchestrator == pytest.approx(10 / (3456 * 2 / 16))  # 10 s of 432
    assert "10 s of a run beside its stages, which is 2.3% of a plate of 3,456 sites" in section(PARTS)


def test_where_a_plate_was_measured_its_share_is_taken():
    page = f"{PARTS}\n| `{WHOLE}` | 1.2 | s |  |\n| `{SHARE}` | 0.031 |  |  |"
    assert Screen.jump(page).processor == pytest.approx(1.2)
    assert Screen.jump(page).orchestrator == pytest.approx(0.031)
    assert "(every stage)" in section(page)
    assert "3.1% of a run in the process that plans" in section(page)
    assert "beside its stages" not in section(page)


def test_the_page_is_what_the_figures_give():
    text = DOCS.read_text()
    assert BEGIN in text
    assert text == renewed(text, PAGE.read_text()), "run python -m benchmarks.scale"
