import json

import polars as pl
import pytest
from pydantic import BaseModel

from morpho_assets.lake.digests import _text, digest, digest_rows, plain


class Config(BaseModel):
    radius: float = 1.0


def test_equal_content_has_an_equal_digest_whatever_its_order():
    assert digest({"a": 1, "b": Config()}) == digest({"b": Config(), "a": 1})
    assert digest(Config()) != digest(Config(radius=2.0))


def test_what_is_no_value_is_refused():
    with pytest.raises(TypeError, match="cannot digest set"):
        digest({"a": {1}})


def test_a_value_survives_as_json():
    value = {"settings": Config(), "channels": ("DNA", "ER")}
    assert plain(value) == {"settings": {"radius": 1.0}, "channels": ["DNA", "ER"]}
    assert digest(json.loads(json.dumps(plain(value)))) == digest(value)


FRAME = pl.DataFrame({"well": ["A01", None], "cells": [1, None], "area": pl.Series([0.5, None], dtype=pl.Float32)})


@pytest.mark.parametrize(
    "other",
    [
        FRAME.reverse(),
        FRAME.rename({"cells": "nuclei"}),
        FRAME.cast({"area": pl.Float64}),
        FRAME.with_columns(cells=pl.Series([1, 0])),
        FRAME.with_columns(area=pl.Series([0.5, 0.0], dtype=pl.Float32)),
        FRAME.with_columns(well=pl.Series(["A01", "null"])),
        FRAME.head(1),
        FRAME.clear(),
    ],
    ids=["order", "name", "type", "null-or-0", "null-or-0.0", "null-or-text", "rows", "empty"],
)
def test_other_rows_have_another_digest(other):
    assert digest_rows(FRAME) == digest_rows(FRAME.clone())
    assert digest_rows(other) != digest_rows(FRAME)


def test_nan_counts_as_null():
    nan = FRAME.with_columns(area=pl.Series([0.5, float("nan")], dtype=pl.Float32))
    assert digest_rows(nan) == digest_rows(FRAME)


@pytest.mark.parametrize("words", [["a", 'b"é\n', None, "c"] * 50, ["x"] * 20, [None] * 20, [], ["a", "b"]])
def test_words_that_repeat_are_written_as_any_are(words):
    assert _text(pl.Series("words", words, dtype=pl.String)) == json.dumps(words, ensure_ascii=False).encode()
