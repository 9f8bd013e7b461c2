"""A plate that is larger than the disk: what lies there never passes the bound, and the cells are the same."""

from pathlib import Path

import pytest

from morpho_assets.gallery import images
from morpho_assets.lake.files import LocalFiles
from morpho_assets.lake.ledger import Partition
from morpho_assets.runs import Run
from morpho_assets_tests.project import make_project

STAGES = ("plate_manifest", "raw_images", "illumination", "image_quality", "masks", "single_cells", "well_profiles")
PLATES = ("SYN00000001", "SYN00000002")


def held(folder):
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


@pytest.mark.slow
def test_plates_stream_over_a_small_disk(tmp_path, tiny_gallery, object_store, monkeypatch):
    object_store.create("streamed")
    object_store.put_folder("streamed", tiny_gallery)
    source = {"name": "demo", "kind": "gallery", "root": "s3://streamed", "project": "cpg9999-synthetic",
              "source": "source_0", "endpoint_url": object_store.url}  # fmt: skip
    bound, folder, peaks = 700_000, tmp_path / "streamed/data/images", []

    class Watched(LocalFiles):
        def write(self, path, content):
            super().write(path, content)
            peaks.append(held(folder))

    monkeypatch.setattr(images, "LocalFiles", Watched)
    settings = {"illumination": {"method": "none"}, "measurement": "core"}
    small = make_project(tmp_path / "streamed", sources=[source], images={"policy": "stream", "disk_gb": bound / 1e9},
                         **settings)  # fmt: skip
    large = make_project(tmp_path / "local", tiny_gallery, **settings)
    for project, plates in ((small, PLATES), (large, PLATES[:1])):
        run = Run(project.workspace)
        for plate in plates:
            for stage in STAGES:
                run.make(stage, Partition("plate", plate))
                if project is small:
                    assert held(folder) <= bound
            assert held(project.folder / "data/images") == 0  # nothing is left of a plate that is measured
    whole = small.read("image_files", PLATES[0])["bytes"].sum()
    assert whole > 3 * bound > 0
    assert bound / 2 < max(peaks) <= bound
    for table in ("single_cells", "well_profiles"):
        assert small.read(table, PLATES[0]).equals(large.read(table, PLATES[0]))
