from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.report.figures import loss_curve
from morpho_assets.report.page import (
    FIRST_ROWS,
    KeyFigure,
    Made,
    Picture,
    Query,
    Section,
    frame_table,
    number,
    render_report,
)
from morpho_assets.report.pictures import photo_bytes

FRAME = pl.DataFrame({"Metadata_Well": ["A01", "B02", None], "map": [0.5, float("nan"), 1e-5], "wells": [1, 2000, 3]})
MADE = Made("0.1.0", "abc123", ["P1", "P2"], [Query("What is found?", "SELECT 1 < 2;")], {"Seed": "0"})


def report(**parts: object) -> str:
    sections = [
        Section(
            "Do treatments differ?",
            "Each against controls.",
            [Picture(loss_curve([2, 1], [2, 1]), "The loss.", "chart")],
        ),
        Section("The plates", "Counts by position.", [], [frame_table(FRAME, "All wells.", {"map": "precision"})]),
        Section("The plates", "Again.", [Picture(photo_bytes(np.zeros((9, 9, 3))), "A field.", wide=True)]),
    ]
    given = {
        "summary": [KeyFigure("Retrieved", "61 %", "chance 5 %")],
        "sections": sections,
        "made": MADE,
        "lead": "Two plates.",
    }
    return render_report("Activity", **{**given, **parts})  # type: ignore[arg-type]


class Outline(HTMLParser):
    """Headings, captions, links and loaded things of a page, and whether its tags are balanced."""

    VOID = frozenset({"meta", "img", "input"})
    KEPT = frozenset({"h1", "h2", "h3", "dt", "dd", "figcaption", "th", "td"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.loads += [values["src"]] if "src" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in reversed(self.open):
            if tag in self.KEPT and data.strip():
                self.seen.append((tag, data.strip()))
                break


def test_structure():
    assert Outline(report()).seen == [
        ("h1", "Activity"),
        ("dt", "Retrieved"),
        ("dd", "61 %"),
        ("dd", "chance 5 %"),
        ("h2", "Do treatments differ?"),
        ("figcaption", "The loss."),
        ("h2", "The plates"),
        ("th", "Well"),
        ("th", "precision"),
        ("th", "wells"),
        *[("td", text) for text in ("A01", "0.500", "1", "B02", "–", "2,000", "–", "1.0e−5", "3")],
        ("h2", "The plates"),
        ("figcaption", "A field."),
        ("h2", "How this was made"),
        ("dt", "Code"),
        ("dd", "morpho-assets 0.1.0"),
        ("dt", "Settings"),
        ("dd", "abc123"),
        ("dt", "Plates (2)"),
        ("dd", "P1, P2"),
        ("dt", "Seed"),
        ("dd", "0"),
        ("h3", "What is found?"),
    ]


def test_every_entry_of_the_index_leads_to_one_section():
    page = Outline(report())
    assert len(set(page.ids)) == len(page.ids)
    chapters = [link for link in page.links if link not in ("#main", "#top")]
    assert chapters == ["#do-treatments-differ", "#the-plates", "#the-plates--2", "#made"]
    assert set(chapters) < {f"#{target}" for target in page.ids}


def test_nothing_is_loaded_from_elsewhere():
    page = report()
    assert all(source.startswith("data:image/webp;base64,") for source in Outline(page).loads)
    assert len(Outline(page).loads) == 2
    assert not re.search(r"https?:(?!//www.w3.org/2000/svg)|url\(|@import|<link|src=\"(?!data:)", page)
    assert "default-src 'none'" in page  # the browser itself refuses anything else


def test_captions_are_there_and_text_is_escaped():
    evil = '<script>alert("1")</script> & more'
    picture = Picture(loss_curve([1], [1]), evil)
    table = frame_table(pl.DataFrame({evil: [evil]}), evil)
    page = report(
        sections=[Section(evil, evil, [picture], [table])],
        made=Made(evil, evil, [evil], [Query(evil, evil)], {evil: evil}),
        summary=[KeyFigure(evil, evil, evil)],
        lead=evil,
    )
    assert page.count("<script>") == 1  # ours
    assert page.count("&lt;script&gt;") >= 16
    assert "\\u003cscript>alert" in page  # in the rows of the table, as JSON
    assert Outline(page).seen.count(("figcaption", evil)) == 1


def test_a_report_of_nothing_still_opens():
    page = Outline(render_report("Empty", [], [], Made("0", "0", [])))
    assert ("dd", "none") in page.seen


def test_equal_input_gives_equal_bytes():
    assert report() == report()


def test_bytes_that_are_no_picture_are_refused():
    with pytest.raises(InputError, match="WebP or PNG"):
        report(sections=[Section("S", "s", [Picture(b"GIF89a", "old")])])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (float("nan"), "–"), (float("inf"), "∞"), (float("-inf"), "−∞"), (0, "0"), (0.0, "0"),
        (12345, "12,345"), (12345.6, "12,346"), (0.7, "0.700"), (12.34, "12.3"), (123.4, "123"), (999.6, "1,000"),
        (-0.25, "−0.250"), (0.00012, "1.2e−4"), (1e-12, "1.0e−12"), (True, "1"),
    ],
)  # fmt: skip
def test_numbers(value, shown):
    assert number(value) == shown


def test_long_tables_are_cut_and_say_so():
    table = frame_table(pl.DataFrame({"x": range(500)}), "Many.", most=200)
    assert (len(table.rows), table.total) == (200, 500)
    page = report(sections=[Section("S", "s", [], [table])])
    assert "The first 200 of 500 rows; the database has all." in page
    assert page.count("<td") == FIRST_ROWS  # the others are data
    rows = json.loads(re.search(r'id="s-table-1">(.*?)</script>', page)[1])["rows"]
    assert rows == [[number] for number in range(200)]


def test_a_chapter_begins_with_its_answer():
    page = report(sections=[Section("S", "How to read it.", answer="2 of 3 act.", widget="plates")])
    assert page.index("2 of 3 act.") < page.index("How to read it.") < page.index('data-widget="plates"')


def test_data_of_explorers_are_json_that_ends_no_script():
    page = report(data={"index": [{"l": "</script><b>\u2028", "n": 0.1}]})
    text = re.search(r'id="index">(.*?)</script>', page)[1]
    assert json.loads(text) == [{"l": "</script><b>\u2028", "n": 0.1}]
    with pytest.raises(ValueError, match="JSON compliant"):
        report(data={"index": [float("nan")]})


def test_table_of_other_types():
    frame = pl.DataFrame({"yes": [True], "list": [["a", "b"]], "day": [None], "empty": [""]})
    table = frame_table(frame, "Types.")
    assert [cell.text for cell in table.rows[0]] == ["yes", "a, b", "–", "–"]
    assert frame_table(frame.clear(), "None.").rows == ()
    assert frame_table(pl.DataFrame(), "Nothing.").columns == ()


def test_missing_numbers_sort_last():
    orders = [row[1].order for row in frame_table(FRAME, "All.").rows]
    assert orders == [0.5, "", 1e-5]
