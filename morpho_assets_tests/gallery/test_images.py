import hashlib
from pathlib import Path

import pytest

from morpho_assets.gallery.images import ImagesConfig, delete_fetched, fetch_images
from morpho_assets.gallery.manifest import write_manifest
from morpho_assets.gallery.sources import GallerySource
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets_tests.factories import write_mirror

MADE = Provenance("raw_images", "1", "settings", {})


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def remote(tmp_path, object_store, lake):
    """A plate of three wells in the object store, its manifest in the lake."""
    root = tmp_path / "mirror"
    write_mirror(root, {"A01": "BRD-1", "A02": "", "B01": "BRD-1"})
    bucket = f"b-{hashlib.sha1(str(tmp_path).encode()).hexdigest()[:12]}"
    object_store.create(bucket)
    object_store.put_folder(bucket, root)
    place = {"root": f"s3://{bucket}", "project": "cpg", "source": "source_1", "endpoint_url": object_store.url}
    source = GallerySource(kind="gallery", name="s", retries=0, **place)
    write_manifest(lake, "P1", MADE, source)
    return source, bucket


def config(tmp_path):
    return ImagesConfig(folder=str(tmp_path / "images"))


def image_key(well, channel="DNA"):
    return f"cpg/source_1/images/batch_1/images/P1/Images/{well}-1-{channel}.tiff"


def test_images_are_fetched_verified_and_listed_in_the_manifest_s_order(tmp_path, lake, remote):
    files = fetch_images(lake, "P1", MADE, remote[0].store(), config(tmp_path))
    assert files.height == 6
    assert files["Metadata_Well"].to_list() == ["A01", "A01", "A02", "A02", "B01", "B01"]
    for row in files.iter_rows(named=True):
        body = Path(row["path"]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (row["bytes"], row["sha256"])
    assert lake.read("image_files", "P1").height == 6
    assert lake.read("site_failures", "P1").height == 0


def test_a_second_run_fetches_only_what_is_missing_or_damaged(tmp_path, lake, remote):
    source, _ = remote
    first = fetch_images(lake, "P1", MADE, source.store(), config(tmp_path))
    kept, gone, cut = (Path(path) for path in first["path"][:3])
    stamp = kept.stat().st_mtime_ns
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    second = fetch_images(lake, "P1", MADE, source.store(), config(tmp_path))
    assert second.equals(first)
    assert kept.stat().st_mtime_ns == stamp
    assert len(cut.read_bytes()) == first["bytes"][2]


def test_an_image_that_cannot_be_had_is_one_row_and_the_others_come(tmp_path, lake, remote, object_store):
    source, bucket = remote
    object_store.client.delete_object(Bucket=bucket, Key=image_key("A02"))
    files = fetch_images(lake, "P1", MADE, source.store(), config(tmp_path))
    assert files.height == 5
    failures = lake.read("site_failures", "P1").to_dicts()
    assert [(f["Metadata_Well"], f["channel"], f["stage"], f["error"]) for f in failures] == [
        ("A02", "DNA", "raw_images", "does not exist")
    ]
    object_store.put(bucket, image_key("A02"), b"II mended")
    assert fetch_images(lake, "P1", MADE, source.store(), config(tmp_path)).height == 6
    assert lake.read("site_failures", "P1").height == 0


def test_other_content_gives_another_fingerprint(tmp_path, lake, remote, object_store):
    source, bucket = remote
    fetch_images(lake, "P1", MADE, source.store(), config(tmp_path))
    first = lake.provenance("image_files", "P1").fingerprint
    object_store.put(bucket, image_key("A01"), b"another image")
    fetch_images(lake, "P1", MADE, source.store(), config(tmp_path))
    assert lake.provenance("image_files", "P1").fingerprint != first


def test_local_images_are_used_where_they_lie_and_never_deleted(tmp_path, lake):
    root = tmp_path / "mirror"
    write_mirror(root, {"A01": ""})
    source = GallerySource(kind="gallery", name="s", root=str(root), project="cpg", source="source_1")
    write_manifest(lake, "P1", MADE, source)
    files = fetch_images(lake, "P1", MADE, source.store(), config(tmp_path))
    assert all(path.startswith(str(root)) for path in files["path"])
    delete_fetched(files["path"].to_list(), config(tmp_path).folder)
    assert all(Path(path).exists() for path in files["path"])


def test_fetched_images_are_deleted_when_streaming(tmp_path, lake, remote):
    files = fetch_images(lake, "P1", MADE, remote[0].store(), config(tmp_path))
    delete_fetched(files["path"].to_list(), config(tmp_path).folder)
    assert not any(Path(path).exists() for path in files["path"])
