"""The tables of docs/inputs.md, from the cases: `python -m morpho_assets_tests.gallery.kinds` writes them."""

from __future__ import annotations

from morpho_assets_tests.gallery.cases import all_cases
from morpho_assets_tests.project import ROOT

PAGE = ROOT / "docs" / "inputs.md"
BEGIN, END = "<!-- begin kinds -->", "<!-- end kinds -->"


def kinds_table() -> str:
    """The cases as Markdown tables, one for each area."""
    lines: list[str] = []
    cases = all_cases()
    for area in dict.fromkeys(each.area for each in cases):
        rows = [f"| {each.what} | {each.outcome} |" for each in cases if each.area == area]
        lines += [f"### {area}", "", "| what a file is like | what happens |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def kinds_page(page: str) -> str:
    """docs/inputs.md with the tables of now."""
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{kinds_table()}\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    PAGE.write_text(kinds_page(PAGE.read_text()))
