import pickle

import pytest

from morpho_assets.errors import ImageError, InputError, LakeError, MorphoError


@pytest.mark.parametrize(
    "error",
    [InputError("a.csv", "row 2", "x", "y", "Mend it."), ImageError("a.tiff", "truncated"), LakeError("no table")],
    ids=["input", "image", "lake"],
)
def test_errors_cross_processes_whole(error):
    back = pickle.loads(pickle.dumps(error))
    assert isinstance(back, MorphoError)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_an_input_error_says_where_what_and_what_to_do():
    error = InputError("a.csv", "row 2", "3 cells", "4", "Mend the row.")
    assert str(error) == "a.csv, row 2: found 3 cells; expected 4. Mend the row."
    assert str(InputError("a.csv", "", "nothing", "rows", "Fill it.")).startswith("a.csv: found nothing")
