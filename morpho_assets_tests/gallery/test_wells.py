import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.gallery.wells import fits, well_name, well_position


@pytest.mark.parametrize(
    ("name", "position"), [("A01", (1, 1)), ("p24", (16, 24)), ("Z1", (26, 1)), ("AA01", (27, 1)), ("AF48", (32, 48))]
)
def test_wells_have_rows_and_columns_from_one(name, position):
    assert well_position(name) == position


@pytest.mark.parametrize("name", ["", "1A", "A", "A00", "A49", "AG01", "A001", "Ä01", "A1B"])
def test_what_is_no_well_is_refused(name):
    with pytest.raises(ValueError, match="no"):
        well_position(name)


@given(row=st.integers(1, 32), column=st.integers(1, 48))
def test_name_and_position_are_inverse(row, column):
    assert well_position(well_name(row, column)) == (row, column)


def test_formats_bound_rows_and_columns():
    assert fits((8, 12), 96)
    assert not fits((9, 1), 96)
    assert not fits((1, 13), 96)
    assert fits((32, 48), 1536)
