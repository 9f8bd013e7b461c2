import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.gallery.wells import FORMATS, fits, row_number, well_name, well_position


@pytest.mark.parametrize(
    ("name", "position"),
    [("A01", (1, 1)), ("p24", (16, 24)), ("h1", (8, 1)), ("AF48", (32, 48)), (" B02 ", (2, 2)), ("A001", (1, 1)),
     ("A - 1", (1, 1)), ("b_03", (2, 3)), ("C-12", (3, 12)), ("r01c01", (1, 1)), ("R16C24", (16, 24)),
     ("row 3 col 4", (3, 4)), ("R1", (18, 1))],
)  # fmt: skip
def test_a_name_is_a_place(name, position):
    assert well_position(name) == position


NONE = ["", "A", "01", "0101", "A00", "A49", "AG01", "1A", "A1B", "Ä01", "A100", "r33c01", "r01c00", "rc", "A1.5"]


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_well_is_refused(name):
    with pytest.raises(ValueError, match="no"):
        well_position(name)


@given(st.integers(1, 32), st.integers(1, 48))
def test_names_and_places_are_each_other_s_inverse(row, column):
    name = well_name(row, column)
    assert well_position(name) == well_position(name.lower()) == (row, column)
    assert well_position(f"r{row:02d}c{column:02d}") == (row, column)
    assert row_number(name[:-2]) == row_number(str(row)) == row


@pytest.mark.parametrize("row", ["", "AG", "1.5", "A1", "-1"])
def test_what_is_no_row_is_refused(row):
    with pytest.raises(ValueError, match="no row"):
        row_number(row)


@pytest.mark.parametrize("wells", FORMATS)
def test_the_last_well_fits_its_plate_and_the_next_does_not(wells):
    rows, columns = FORMATS[wells]
    assert rows * columns == wells
    assert fits((rows, columns), wells)
    assert not fits((rows + 1, columns), wells)
    assert not fits((rows, columns + 1), wells)
