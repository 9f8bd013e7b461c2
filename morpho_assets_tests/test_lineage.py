import polars as pl
import pytest

from morpho_assets.errors import LakeError
from morpho_assets.imaging.illumination import IlluminationConfig
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.tables import TABLES
from morpho_assets.lineage import (
    PLATE_STAGES,
    STUDY_STAGES,
    is_current,
    plate_provenance,
    same_settings,
    settings_digest,
)
from morpho_assets.settings import Settings

SETTINGS = Settings()
OTHER = Settings(illumination=IlluminationConfig(method="none"))
ROW = {
    "Metadata_Plate": ["P1"],
    "Metadata_Well": ["A01"],
    "Metadata_Site": [1],
    "channel": ["DNA"],
    "ObjectNumber": [1],
}


def fill(lake, settings=SETTINGS, plate="P1"):
    """Every stage of a plate, written with these settings."""
    for name, stage in PLATE_STAGES.items():
        frame = pl.DataFrame({**ROW, "Metadata_Plate": [plate]}).select(TABLES[stage.table].keys)
        lake.write(stage.table, plate, frame, plate_provenance(lake, name, plate, settings))


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


def test_stages_read_only_stages_before_them_and_write_declared_tables():
    for stages in (PLATE_STAGES, STUDY_STAGES):
        known = []
        for name, stage in stages.items():
            assert set(stage.inputs) <= set(known), name
            assert stage.table in TABLES
            known.append(name)


def test_a_missing_input_is_named(lake):
    with pytest.raises(LakeError, match="raw_images of P1 is not there"):
        plate_provenance(lake, "illumination", "P1", SETTINGS)


def test_what_was_just_made_is_current(lake):
    assert not is_current(lake, "plate_manifest", "P1", SETTINGS)
    fill(lake)
    assert all(is_current(lake, name, "P1", SETTINGS) for name in PLATE_STAGES)


def test_a_setting_makes_stale_its_stage_and_those_after_it_alone(lake):
    fill(lake)
    stale = {name for name in PLATE_STAGES if not is_current(lake, name, "P1", OTHER)}
    assert stale == {"illumination", "masks", "single_cells", "well_profiles"}


def test_an_input_that_was_made_anew_makes_stale_what_reads_it(lake):
    fill(lake)
    made = lake.provenance("masks", "P1")
    lake.write("masks", "P1", lake.read("masks", "P1"), made.including("other", "content"))
    stale = {name for name in PLATE_STAGES if not is_current(lake, name, "P1", SETTINGS)}
    assert stale == {"single_cells", "well_profiles"}


def test_the_digest_covers_the_stages_before():
    digests = [settings_digest(PLATE_STAGES["single_cells"], settings, PLATE_STAGES) for settings in (SETTINGS, OTHER)]
    assert digests[0] != digests[1]
    digests = [settings_digest(PLATE_STAGES["image_quality"], settings, PLATE_STAGES) for settings in (SETTINGS, OTHER)]
    assert digests[0] == digests[1]


def test_plates_of_two_settings_never_mix(lake):
    fill(lake)
    fill(lake, OTHER, "P2")
    same_settings(lake, "well_profiles", ["P1"], SETTINGS)
    with pytest.raises(LakeError, match="well_profiles of P2 was made with other settings"):
        same_settings(lake, "well_profiles", ["P1", "P2"], SETTINGS)
    with pytest.raises(LakeError, match="well_profiles of plate P3 is not there"):
        same_settings(lake, "well_profiles", ["P3"], SETTINGS)
