import polars as pl
import pytest

from morpho_assets.errors import LakeError
from morpho_assets.gallery.manifest import write_manifest
from morpho_assets.gallery.sources import SamplesheetSource
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
    for table in ("wells", "sites"):
        write(lake, "plate_manifest", table, settings, plate)
    fill_after_the_manifest(lake, settings, plate)


def fill_after_the_manifest(lake, settings=SETTINGS, plate="P1"):
    for name, stage in list(PLATE_STAGES.items())[1:]:
        write(lake, name, stage.table, settings, plate)


def write(lake, stage, table, settings, plate):
    frame = pl.DataFrame({**ROW, "Metadata_Plate": [plate]}).select(TABLES[table].keys)
    lake.write(table, plate, frame, plate_provenance(lake, stage, plate, settings))


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


def source(folder, **settings):
    (folder / "sheet.csv").write_text(
        "channel,path,source,batch,plate,well,site,Metadata_Perturbation\n"
        "DNA,a.tiff,lab,B,P1,A01,1,DMSO\nDNA,b.tiff,lab,B,P1,A02,1,water\n"
    )
    return SamplesheetSource(kind="samplesheet", name="lab", path=str(folder / "sheet.csv"), **settings)


def test_a_setting_of_a_source_makes_its_plates_stale_and_no_others(lake, tmp_path):
    before, after = source(tmp_path), source(tmp_path, negative_controls=("water",))
    fill(lake, SETTINGS, "P2")
    write_manifest(lake, "P1", plate_provenance(lake, "plate_manifest", "P1", SETTINGS), before)
    fill_after_the_manifest(lake)
    settings, changed = (SETTINGS.model_copy(update={"sources": (s,)}) for s in (before, after))
    assert all(is_current(lake, name, "P1", settings) for name in PLATE_STAGES)
    fetched_otherwise = SETTINGS.model_copy(update={"sources": (source(tmp_path, retries=9),)})
    assert is_current(lake, "well_profiles", "P1", fetched_otherwise)
    assert not any(is_current(lake, name, "P1", changed) for name in PLATE_STAGES)
    assert is_current(lake, "well_profiles", "P2", changed)
    with pytest.raises(LakeError, match="well_profiles of P1 was made with other settings"):
        same_settings(lake, "well_profiles", ["P1", "P2"], changed)
    # Read anew, the manifest has other controls and the same images: only profiles are to be made again.
    write_manifest(lake, "P1", plate_provenance(lake, "plate_manifest", "P1", changed), after)
    assert [name for name in PLATE_STAGES if not is_current(lake, name, "P1", changed)] == ["well_profiles"]


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
