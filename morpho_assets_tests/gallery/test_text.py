import gzip
import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morpho_assets.errors import InputError
from morpho_assets.gallery.text import ROW, read_table, require_columns, require_values
from morpho_assets_tests.factories import workbook


def read(body, file="t.csv"):
    return read_table(body, file).drop(ROW).to_dicts()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "row 1: found an empty file"),
        (b"\n\n", "row 1: found an empty file"),
        (b"a,b\n", "row 2: found no rows"),
        (b"a,b\n,\n", "row 2: found no rows"),
        (b"a;b\n1;2\n", "row 1: found semicolons between the columns; expected commas or tabs"),
        (b"a,b,a\n1,2,3\n", "found the column 'a' twice, with different values"),
        (b"a,b\n1,2\n1,2,3\n", "row 3: found 3 cells; expected 2"),
        (b"a,b\n1\n", "row 2: found 1 cells; expected 2"),
        (b"a,,b\n1,2,3\n", "row 1: found column 2 without a name, with values such as '2'"),
        (b"a,b\n\xff\xfe,2\n", "byte 4: found a byte that is not UTF-8 (in Latin-1 it is 'ÿ')"),
        ("a,b\nµM,2\n".encode("latin-1"), "in Latin-1 it is 'µ'"),
        ("a,b\n1,2\n".encode("utf-16-le"), "found a zero byte in row 1"),
        (b"\0" * 40, "found 40 zero bytes and nothing else"),
        (b'a\tb\n1\t"x\n2\ty"\n', "row 2: found a quote that opens a cell and does not close it"),
        (b'a\tb\n1\t"x"y\n', "row 2: found a quote"),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "no readable gzip file"),
        (gzip.compress(b"a,b\n1,2\n") + b"more", "no readable gzip file (4 bytes after its end)"),
        (workbook([["a"], ["1"]])[:200], "no readable workbook"),
    ],
    ids=["empty", "blank", "header-only", "empty-rows", "semicolons", "repeated", "long", "short", "unnamed",
         "encoding", "latin-1", "utf-16-unmarked", "zeros", "open-quote", "text-after-quote",
         "cut-gzip", "gzip-tail", "cut-xlsx"],
)  # fmt: skip
def test_a_broken_table_says_file_row_and_what_was_expected(body, message):
    with pytest.raises(InputError) as error:
        read_table(body, "load_data.csv")
    assert str(error.value).startswith("load_data.csv")
    assert message in str(error.value)


def test_cells_are_trimmed_text_and_empty_ones_null():
    assert read(b"a,b\n 1 ,x\n ,y\n\n") == [{"a": "1", "b": "x"}, {"a": None, "b": "y"}]


@pytest.mark.parametrize(
    ("body", "file"),
    [
        (b'\xef\xbb\xbfa,b\r\n"1,5",x\r\n', "t.csv"),
        (b'a\tb\n"1,5"\tx\n', "t.csv"),
        (b"a\tb\n1,5\tx\n", "t.txt"),
        (b"a\tb\r1,5\tx\r", "t.txt"),
        ("a\tb\n1,5\tx\n".encode("utf-16"), "t.txt"),
        (b'"","a","b","a"\n"1","1,5","x","1,5"\n', "t.csv"),
        (b'a,b,,\n"1,5",x,,\n', "t.csv"),
        (b'a,b\n"1,5",x,,\n,,,\n', "t.csv"),
        (gzip.compress(b'a,b\n"1,5",x\n'), "t.csv.gz"),
        (gzip.compress(b"a,b\n") + gzip.compress(b'"1,5",x\n'), "t.csv.gz"),
        (workbook([["a", "b"], ["1,5", "x"]]), "t.xlsx"),
        (workbook([["a", "b"], [None, None], ["1,5", "x"]]), "t.csv"),
    ],
    ids=["bom", "tabs-in-csv", "tabs", "old-mac", "utf-16", "row-names-and-copy", "empty-columns", "empty-cells",
         "gzip", "gzip-in-parts", "xlsx", "xlsx-as-csv"],
)  # fmt: skip
def test_one_table_in_many_forms(body, file):
    assert read(body, file) == [{"a": "1,5", "b": "x"}]


def test_a_quote_within_a_cell_is_a_character():
    body = b'well\tname\nA01\t5"-deoxy\nA02\t"2,2""-bi"\nA03\t5"-deoxy\n'
    assert [row["name"] for row in read(body)] == ['5"-deoxy', '2,2"-bi', '5"-deoxy']


IDENTIFIERS = ["0042", "1E5", "001", "12E3", "1e400", "NaN", "-0", "1.50", "2020_11_04", "TRUE", "1/2"]


@pytest.mark.parametrize("write", ["csv", "xlsx", "parquet"])
def test_an_identifier_stays_as_it_is(write):
    frame = pl.DataFrame({"plate": IDENTIFIERS})
    if write == "parquet":
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        body = buffer.getvalue()
    elif write == "csv":
        body = frame.write_csv().encode()
    else:
        body = workbook([["plate"], *([name] for name in IDENTIFIERS)])
    assert [row["plate"] for row in read(body, f"t.{write}")] == IDENTIFIERS


def test_numbers_of_a_workbook_and_of_parquet_are_written_as_people_would():
    buffer = io.BytesIO()
    frame = pl.DataFrame({"plate": [1053601756, 42], "site": [1.0, 2.0], "dose": [0.5, None]})
    frame.with_columns(nested=pl.lit([1])).write_parquet(buffer)
    expected = [{"plate": "1053601756", "site": "1", "dose": "0.5"}, {"plate": "42", "site": "2", "dose": None}]
    assert read(buffer.getvalue(), "t.parquet") == expected
    assert read(workbook([["plate", "site", "dose"], [1053601756, 1, 0.5], [42, 2, None]]), "t.xlsx") == expected


def test_broken_parquet_is_an_input_error():
    with pytest.raises(InputError, match="no readable Parquet"):
        read_table(b"PAR1 nonsense", "t.parquet")


def test_rows_are_numbered_as_an_editor_shows_them():
    frame = read_table(b"\na,b\n1,2\n\n3,\n", "t.csv")
    assert frame[ROW].to_list() == [3, 5]
    with pytest.raises(InputError, match="row 5, column b"):
        require_values(frame, "t.csv", ["a", "b"])


def test_a_name_that_is_nearly_right_is_offered():
    with pytest.raises(InputError, match=r"also Plate_Map_Name\. Rename Plate_Map_Nam, if that is it"):
        require_columns(read_table(b"Plate_Map_Nam\nx\n", "t.csv"), "t.csv", ["Plate_Map_Name"])


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=5), st.sampled_from(",\t"))
def test_what_a_writer_writes_is_read_back(rows, separator):
    body = pl.DataFrame(rows, schema=["a", "b"], orient="row").write_csv(separator=separator, quote_style="always")
    assert [list(row.values()) for row in read(body.encode())] == rows
