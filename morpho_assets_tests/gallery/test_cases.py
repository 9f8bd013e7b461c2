"""Every kind of input comes to what docs/inputs.md says of it."""

import pytest

from morpho_assets_tests.gallery.cases import all_cases
from morpho_assets_tests.gallery.kinds import PAGE, kinds_page


@pytest.mark.parametrize("each", all_cases(), ids=lambda each: each.name)
def test_an_input_of_this_kind(each, tmp_path, request):
    if each.data:
        request.getfixturevalue("reference_data")
    each.run(tmp_path)


def test_no_two_cases_are_called_the_same():
    names = [each.name for each in all_cases()]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_page_lists_the_kinds_of_now():
    page = PAGE.read_text()
    assert page == kinds_page(page), "run make docs"
