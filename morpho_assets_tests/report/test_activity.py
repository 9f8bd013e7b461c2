import io

import pytest
from PIL import Image

from morpho_assets.report.activity import auroc_scatter, overlap_chart


@pytest.mark.parametrize(
    "image",
    [
        lambda: overlap_chart(["a", "b", "a + b"], [3, 0, 12], "assays above 0.7"),
        lambda: auroc_scatter([0.5, float("nan"), 0.9], [0.6, 0.7, 0.8], [False, False, True], ("one", "all")),
        lambda: auroc_scatter([], [], [], ("one", "all")),
    ],
    ids=["overlaps", "scatter", "nothing"],
)
def test_charts_are_pictures_of_the_page(image):
    picture = Image.open(io.BytesIO(image()))
    assert picture.format == "WEBP"
    assert min(picture.size) > 250
