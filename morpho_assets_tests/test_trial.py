"""Ways to segment side by side, and the choice that is written into the settings."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from morpho_assets.cli import main
from morpho_assets.imaging.segmentation import WatershedConfig
from morpho_assets.imaging.segmentation.config import NucleiConfig
from morpho_assets.settings import load_settings
from morpho_assets.simulator import SIZES, write_gallery
from morpho_assets.trial import METHODS, Field, try_methods, write_choice
from morpho_assets_tests.imaging.segmentation.test_segmenters import two_stains


def test_methods_are_counted_timed_and_compared() -> None:
    fields = [Field(f"A0{seed}-1", two_stains(seed)[0], ("DNA", "RNA")) for seed in (1, 2)]
    methods = {"all": WatershedConfig(), "none": WatershedConfig(nuclei=NucleiConfig(max_diameter=5))}
    tried = try_methods(fields, methods)
    table = tried.table()
    assert table["cells"].to_list() == [28, 0]
    assert table["dropped"].to_list() == [0, 28]
    assert table["like all"].to_list() == [1, 0]
    assert table["nuclear_diameter_px"][0] == pytest.approx(22, abs=1.5)
    assert table["nuclear_diameter_px"][1] is None
    assert table["seconds_a_site"].min() >= 0
    picture = Image.open(io.BytesIO(tried.picture(100)))
    assert picture.size == (200, 200)
    assert np.asarray(picture).std() > 5


SETTINGS = """\
# mine
lake: data/lake   # here
segmentation:
  method: watershed
  nuclei:

    channel: Hoechst  # ours
# of measuring
measurement: core
"""


def test_a_choice_takes_the_place_of_what_stood_there(tmp_path: Path) -> None:
    file = tmp_path / "morpho.yaml"
    file.write_text(SETTINGS)
    before = load_settings(file)
    write_choice(file, METHODS["cellprofiler-jump"])
    after = load_settings(file)
    assert after.segmentation == METHODS["cellprofiler-jump"]
    assert after.model_copy(update={"segmentation": before.segmentation}) == before
    text = file.read_text()
    assert text.startswith("# mine\nlake: data/lake   # here\nsegmentation:\n")
    assert text.endswith("# of measuring\nmeasurement: core\n")
    assert "Hoechst" not in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lake: data/lake\n",
        "lake: data/lake",
        "segmentation: {method: watershed}",
        "segmentation:\n  method: watershed\n\n\n",
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_chosen_in_any_settings_file(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "morpho.yaml"
    file.write_text(text)
    write_choice(file, METHODS[name])
    assert load_settings(file).segmentation == METHODS[name]
    write_choice(file, METHODS["watershed"])
    assert load_settings(file).segmentation == WatershedConfig()


def test_morpho_segment_tries_on_a_plate_that_nothing_was_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MORPHO_SETTINGS", "DAGSTER_HOME", "MORPHO_STATE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    design = SIZES["tiny"]
    plates = write_gallery(str(tmp_path / "gallery"), design, 0)
    file = tmp_path / "morpho.yaml"
    source = f"{{name: demo, kind: gallery, root: gallery, project: {design.project}, source: {design.source}}}"
    file.write_text(f"sources: [{source}]\n")
    out = tmp_path / "seen.png"
    command = ["--settings", str(file), "segment", "--plate", plates[0]]
    assert main([*command, "--try", "watershed", "cellprofiler-jump", "--sites", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "like cellprofiler-jump" in said
    with Image.open(out) as picture:
        assert picture.size == (2 * 540, 2 * 540)
    assert main([*command, "--try", "otsu"]) == 1
    assert "one of settings, watershed, cellprofiler-jump, network, small-nuclei" in capsys.readouterr().err
    assert main([*command, "--try", "watershed", "--site", "Z99-1"]) == 1
    assert "no such site" in capsys.readouterr().err
    assert main([*command, "--choose", "network"]) == 0
    assert load_settings(file).segmentation == METHODS["network"]
    assert not (tmp_path / "data").exists()
