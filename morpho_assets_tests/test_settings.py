import pytest

from morpho_assets.errors import InputError
from morpho_assets.gallery.sources import GallerySource, SamplesheetSource
from morpho_assets.measure.config import PROFILES
from morpho_assets.settings import Settings, load_settings
from morpho_assets_tests.factories import write
from morpho_assets_tests.project import ROOT


def test_the_shipped_settings_are_valid():
    settings = load_settings(ROOT / "morpho.yaml")
    assert [source.name for source in settings.sources] == ["demo"]


def test_an_empty_file_gives_the_defaults(tmp_path):
    settings = load_settings(write(tmp_path / "morpho.yaml", ""))
    assert settings.measurement == PROFILES["jump"]
    assert settings.lake == str(tmp_path / "data/lake")


def test_paths_are_relative_to_the_file_and_urls_stay(tmp_path):
    text = """
lake: s3://lab/lake
reports: /abs/reports
sources:
  - {name: a, kind: gallery, root: mirror, project: p, source: s}
  - {name: b, kind: gallery, root: "s3://cellpainting-gallery", project: p, source: s}
  - {name: c, kind: samplesheet, path: sheet.csv}
"""
    settings = load_settings(write(tmp_path / "morpho.yaml", text))
    assert (settings.lake, settings.reports) == ("s3://lab/lake", "/abs/reports")
    mirror, bucket, sheet = settings.sources
    assert isinstance(mirror, GallerySource)
    assert mirror.root == str(tmp_path / "mirror")
    assert isinstance(bucket, GallerySource)
    assert bucket.root == "s3://cellpainting-gallery"
    assert isinstance(sheet, SamplesheetSource)
    assert sheet.path == str(tmp_path / "sheet.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sourcess: []", "key sourcess: found a key that is not known.*expected one of lake, .*Did you mean sources?"),
        ("compute: {workers: -1}", "key compute.workers: found -1"),
        ("measurement: fast", "one of \\['core', 'jump', "),
        ("segmentation: {method: magic}", "key segmentation"),
        ("sources: [{name: a, kind: gallery, root: r}]", "key sources.0.gallery.project"),
        ("sources: [", "no readable YAML"),
        ("failed_sites: 2", "key failed_sites: found 2"),
    ],
)
def test_a_wrong_key_or_value_is_one_message(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_settings(write(tmp_path / "morpho.yaml", text))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="found no such file"):
        load_settings(tmp_path / "none.yaml")


def test_every_setting_is_described():
    def models(model):
        for field in model.model_fields.values():
            assert field.description, f"{model.__name__}: {field}"
            annotation = field.annotation
            if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
                models(annotation)

    models(Settings)
