import hashlib
from pathlib import Path

import pytest

from morpho_assets.gallery.images import ImagesConfig, delete_fetched, fetch_images
from morpho_assets.gallery.manifest import read_manifest
from morpho_assets.gallery.sources import GallerySource
from morpho_assets.imaging.sites import SiteReader, complete_sites
from morpho_assets.lake.lake import Lake
from morpho_assets_tests.factories import commit_work, last, make_work, plate, write_mirror

P1 = plate("P1")


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def committed(lake, source):
    """The source, whose plate's manifest is in the lake."""
    work = make_work(lake, "plate_manifest", P1, source=source)
    read_manifest(work)
    commit_work(work)
    return source


@pytest.fixture
def remote(tmp_path, object_store, lake):
    """A plate of three wells in the object store, its manifest in the lake."""
    root = tmp_path / "mirror"
    write_mirror(root, {"A01": "BRD-1", "A02": "", "B01": "BRD-1"})
    bucket = f"b-{hashlib.sha1(str(tmp_path).encode()).hexdigest()[:12]}"
    object_store.create(bucket)
    object_store.put_folder(bucket, root)
    place = {"root": f"s3://{bucket}", "project": "cpg", "source": "source_1", "endpoint_url": object_store.url}
    return committed(lake, GallerySource(kind="gallery", name="s", retries=0, **place)), bucket


@pytest.fixture
def fetch(tmp_path, lake):
    """Fetch the plate's images and commit; `first`: as if there were no commit yet."""

    def once(source, first=False, **settings):
        config = ImagesConfig(folder=str(tmp_path / "images"), **settings)
        known = {"previous": None} if first else {}
        work = make_work(lake, "raw_images", P1, options=config, source=source, **known)
        fetch_images(work)
        return commit_work(work)

    return once


def files_of(lake):
    return last(lake, "raw_images", "image_files")


def failures_of(lake):
    return last(lake, "raw_images", "site_failures")


def image_key(well, channel="DNA"):
    return f"cpg/source_1/images/batch_1/images/P1/Images/{well}-1-{channel}.tiff"


def test_images_are_fetched_verified_and_listed_in_the_manifest_s_order(lake, remote, fetch):
    commit = fetch(remote[0])
    files = files_of(lake)
    assert files["Metadata_Well"].to_list() == ["A01", "A01", "A02", "A02", "B01", "B01"]
    for row in files.iter_rows(named=True):
        body = Path(row["path"]).read_bytes()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (row["bytes"], row["sha256"])
    assert failures_of(lake).height == 0
    assert (commit.sites.total, commit.sites.failed) == (3, {})


def test_a_run_of_which_no_commit_knows_fetches_only_what_is_missing_or_damaged(lake, remote, fetch):
    source, _ = remote
    fetch(source)
    first = files_of(lake)
    kept, gone, cut = (Path(path) for path in first["path"][:3])
    stamp = kept.stat().st_mtime_ns
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    fetch(source, first=True)
    assert files_of(lake).equals(first)
    assert kept.stat().st_mtime_ns == stamp
    assert len(cut.read_bytes()) == first["bytes"][2]


def test_a_small_disk_is_not_filled_and_what_is_not_kept_is_known(lake, remote, fetch):
    source, _ = remote
    first = fetch(source)
    whole = files_of(lake)
    for path in whole["path"]:
        Path(path).unlink()
    size = int(whole["bytes"][0])
    bound = {"policy": "stream", "disk_gb": 2.5 * size / 1e9}
    again = fetch(source, first=True, **bound)
    assert files_of(lake).equals(whole)
    assert again.content == first.content
    assert sum(Path(path).exists() for path in whole["path"]) == 2
    assert again.notes["images without room"] == 4
    site = complete_sites(lake.latest(["plate_manifest", "raw_images"], [P1]), "P1")
    reader = SiteReader(lake, source.store())
    for each in site:  # what is not there is read from its source, and checked
        assert reader.content(each, 0)
    fetch(source, first=True, **bound)  # what lies there already counts
    assert sum(Path(path).exists() for path in whole["path"]) == 2


def test_a_bound_is_of_a_stream():
    with pytest.raises(ValueError, match="policy: stream"):
        ImagesConfig(disk_gb=1)


def test_what_has_not_changed_since_the_last_commit_is_not_fetched_again(lake, remote, fetch, object_store):
    source, bucket = remote
    assert fetch(source).notes["images fetched"] == 6
    first = files_of(lake)
    object_store.put(bucket, image_key("A02"), b"II another")
    assert fetch(source).notes["images fetched"] == 1
    changed = files_of(lake)
    assert changed["sha256"].ne(first["sha256"]).sum() == 1
    assert changed["Metadata_Well"].to_list() == first["Metadata_Well"].to_list()


def test_an_image_that_cannot_be_had_is_one_row_and_the_others_come(lake, remote, fetch, object_store):
    source, bucket = remote
    object_store.client.delete_object(Bucket=bucket, Key=image_key("A02"))
    commit = fetch(source)
    assert files_of(lake).height == 5
    assert commit.sites.failed == {"A02-1": "does not exist"}
    failures = failures_of(lake).to_dicts()
    assert [(f["Metadata_Well"], f["channel"], f["stage"], f["error"]) for f in failures] == [
        ("A02", "DNA", "raw_images", "does not exist")
    ]
    object_store.put(bucket, image_key("A02"), b"II mended")
    assert fetch(source).sites.failed == {}
    assert files_of(lake).height == 6
    assert failures_of(lake).height == 0


def test_other_content_gives_another_commit(remote, fetch, object_store):
    source, bucket = remote
    first, same = fetch(source), fetch(source)
    assert (first.content, first.sources) == (same.content, same.sources)
    object_store.put(bucket, image_key("A01"), b"another image")
    other = fetch(source)
    assert other.content != first.content
    assert other.sources != first.sources
    assert other.outputs["image_files"].digest != first.outputs["image_files"].digest


@pytest.fixture
def local(tmp_path, lake):
    root = tmp_path / "mirror"
    write_mirror(root, {"A01": ""})
    place = {"root": str(root), "project": "cpg", "source": "source_1"}
    return committed(lake, GallerySource(kind="gallery", name="s", **place))


def test_local_images_are_used_where_they_lie_and_never_deleted(tmp_path, lake, local, fetch):
    fetch(local)
    paths = files_of(lake)["path"].to_list()
    assert all(path.startswith(str(tmp_path / "mirror")) for path in paths)
    delete_fetched(paths, str(tmp_path / "images"))
    assert all(Path(path).exists() for path in paths)


def test_fetched_images_are_deleted_when_streaming(tmp_path, lake, remote, fetch):
    fetch(remote[0])
    paths = files_of(lake)["path"].to_list()
    delete_fetched(paths, str(tmp_path / "images"))
    assert not any(Path(path).exists() for path in paths)
