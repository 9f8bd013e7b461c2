"""Broken files of every kind: an error of ours or a value, never another exception, and no cut in silence."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morpho_assets_tests.gallery.fuzz import KINDS, broken, foreign, silent_cuts


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_are_read(name):
    KINDS[name].read(KINDS[name].content)


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_broken_file_ends_in_an_error_of_ours_or_a_value(name, seed):
    assert foreign(KINDS[name], broken(KINDS[name].content, random.Random(seed))) is None


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None, max_examples=10)
@given(st.binary(max_size=64))
def test_so_does_what_is_no_such_file(name, body):
    assert foreign(KINDS[name], body) is None


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.closed])
def test_a_file_that_says_where_it_ends_is_never_cut_in_silence(name):
    assert list(silent_cuts(KINDS[name])) == []
