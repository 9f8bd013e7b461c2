import io

import polars as pl
import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import read_table, require_values


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "row 1: found an empty file"),
        (b"\n\n", "row 1: found an empty file"),
        (b"a,b\n", "row 2: found no rows"),
        (b"a;b\n1;2\n", "row 1: found semicolons between the columns; expected commas"),
        (b"a\tb\n1\t2\n", "row 1: found tabs"),
        (b"a,b,a\n1,2,3\n", "found the column 'a' twice"),
        (b"a,b\n1,2\n1,2,3\n", "row 3: found 3 cells; expected 2"),
        (b"a,b\n1\n", "row 2: found 1 cells; expected 2"),
        (b"a,b\n\xff\xfe,2\n", "byte 4: found a byte that is not UTF-8"),
    ],
    ids=["empty", "blank", "header-only", "semicolons", "tabs", "repeated", "long", "short", "encoding"],
)
def test_a_broken_table_says_file_row_and_what_was_expected(body, message):
    with pytest.raises(InputError) as error:
        read_table(body, "load_data.csv")
    assert str(error.value).startswith("load_data.csv, ")
    assert message in str(error.value)


def test_cells_are_trimmed_strings_and_empty_ones_null():
    frame = read_table(b"a,b\n 1 ,x\n ,y\n\n", "t.csv")
    assert frame.to_dicts() == [{"a": "1", "b": "x"}, {"a": None, "b": "y"}]


def test_a_byte_order_mark_quotes_and_windows_line_ends_are_no_trouble():
    frame = read_table(b'\xef\xbb\xbfa,b\r\n"1,5",x\r\n', "t.csv")
    assert frame.to_dicts() == [{"a": "1,5", "b": "x"}]


def test_parquet_and_gzip_are_read_too():
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1], "b": ["x"]}).write_parquet(buffer)
    assert read_table(buffer.getvalue(), "t.parquet").to_dicts() == [{"a": "1", "b": "x"}]
    import gzip

    assert read_table(gzip.compress(b"a,b\n1,x\n"), "t.csv.gz").to_dicts() == [{"a": "1", "b": "x"}]


def test_broken_parquet_is_an_input_error():
    with pytest.raises(InputError, match="no readable Parquet"):
        read_table(b"PAR1 nonsense", "t.parquet")


def test_the_row_of_an_empty_cell_is_named():
    frame = read_table(b"a,b\n1,2\n3,\n", "t.csv")
    with pytest.raises(InputError, match="row 3, column b"):
        require_values(frame, "t.csv", ["a", "b"])
