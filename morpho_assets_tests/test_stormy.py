"""Images and lake in an object store: what a bad network does passes; what lasts is told at once, or costs its site."""

import hashlib
import time

import pytest

from morpho_assets.simulator import write_gallery
from morpho_assets_tests.killed import SOURCE, tables_of, undisturbed
from morpho_assets_tests.project import make_project
from morpho_assets_tests.simulator.conftest import SMALL
from morpho_assets_tests.stormy import pass_through, project_in, put_gallery

PLATE = "SYN00000001"
WITH_PATHS = {"image_files", "masks"}
"""Tables that name files of this machine."""


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    root = tmp_path_factory.mktemp("gallery")
    write_gallery(root, SMALL, seed=3)
    return root


@pytest.fixture
def bucket(object_store, gallery, tmp_path):
    name = f"b-{hashlib.sha1(str(tmp_path).encode()).hexdigest()[:12]}"
    put_gallery(object_store, name, gallery)
    return name


@pytest.mark.slow
def test_in_a_storm_everything_arrives_whole(tmp_path, object_store, bucket, gallery):
    project = project_in(object_store, tmp_path / "stormy", bucket)
    passed = pass_through(project, object_store, gallery, [PLATE], seed=1, late=0.5)
    assert passed.lost == []
    assert passed.images == 40
    assert passed.faults > 10
    expected = undisturbed(tmp_path / "calm", gallery, [PLATE])
    found = tables_of(project, [PLATE])
    assert found.keys() == expected.keys()
    for key, rows in found.items():
        if key[2] not in WITH_PATHS:
            assert rows.equals(expected[key]), key


@pytest.mark.slow
def test_what_is_missing_or_forbidden_for_ever_costs_its_site(tmp_path, object_store, bucket, gallery):
    first, second, *_ = sorted(gallery.rglob("Images/*-ch5*.tiff"))
    object_store.network.missing, object_store.network.forbidden = (first.name,), (second.name,)
    try:
        project = project_in(object_store, tmp_path / "project", bucket, failed_sites=0.5)
        project.run("run", "--plate", PLATE)
    finally:
        object_store.network.missing = object_store.network.forbidden = ()
    failures = project.read("site_failures", PLATE).filter(stage="raw_images")
    told = dict(zip(failures["path"], failures["error"], strict=True))
    assert len(told) == 2
    assert next(error for path, error in told.items() if path.endswith(first.name)) == "does not exist"
    assert "may not be read" in next(error for path, error in told.items() if path.endswith(second.name))
    assert project.read("well_profiles", PLATE)["Metadata_Count_Failed_Sites"].sum() == 2
    again = project.run("plan", "--plate", PLATE, "--look")
    assert "failed image has a new file" in again or "failed images have new files" in again  # the forbidden one


WRONG = {
    "a lake with a wrong key": (
        {"lake_options": {"key": "nobody", "secret": "wrong"}}, "wrong key", "s3://bucket/lake"),
    "a lake without credentials": ({"lake_options": {"anon": True}}, "forbidden", "s3://bucket/lake"),
    "a lake where nobody listens": ({"endpoint": "http://127.0.0.1:9"}, None, "s3://bucket/lake"),
    "images with a wrong key": ({"images": True}, "wrong key", "s3://bucket/gallery"),
    "images where nobody listens": ({"images": True, "endpoint": "http://127.0.0.1:9"}, None, "s3://bucket/gallery"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
def test_wrong_credentials_or_endpoint_are_one_message_within_seconds(tmp_path, object_store, what):
    changes, fault, place = WRONG[what]
    client = {"client_kwargs": {"endpoint_url": changes.get("endpoint", object_store.url)}}
    settings = {"lake": "s3://bucket/lake", "lake_options": {**client, **changes.get("lake_options", {})}}
    if changes.get("images"):
        source = {**SOURCE, "root": "s3://bucket/gallery", "endpoint_url": client["client_kwargs"]["endpoint_url"]}
        settings = {"sources": [source]}
    (tmp_path / "project").mkdir()
    project = make_project(tmp_path / "project", **settings)
    began = time.monotonic()
    with object_store.network.spoil(*[fault] * 200):
        process = project.start("run", "--plate", PLATE)
        output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "Traceback" not in output
    [told] = [line for line in output.splitlines() if line.startswith("morpho: ")]
    assert place in told
    assert time.monotonic() - began < 60  # most of it is a busy machine that loads Python's libraries
