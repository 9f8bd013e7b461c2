import hashlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from morpho_assets.errors import ImageError, InputError
from morpho_assets.gallery.store import GALLERY, Store, _defect


def test_the_longest_matching_start_of_a_path_is_replaced():
    store = Store({GALLERY: "/mirror", f"{GALLERY}/cpg1": "/other", "/home/ubuntu/bucket": "s3://lab"})
    assert store.resolve(f"{GALLERY}/cpg0/a.tiff") == "/mirror/cpg0/a.tiff"
    assert store.resolve(f"{GALLERY}/cpg1/a.tiff") == "/other/a.tiff"
    assert store.resolve("/home/ubuntu/bucket/a.tiff") == "s3://lab/a.tiff"
    assert store.resolve("/home/ubuntu/buckets/a.tiff") == "/home/ubuntu/buckets/a.tiff"


def test_a_local_file_is_read_with_its_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    content = Store().read(str(tmp_path / "a"))
    assert content.body == b"content"
    assert content.sha256 == hashlib.sha256(b"content").hexdigest()


def test_a_missing_file_is_an_image_error_at_once(tmp_path, object_store):
    with pytest.raises(ImageError, match="does not exist"):
        Store().read(str(tmp_path / "none"))
    with pytest.raises(ImageError, match="does not exist"):
        Store(endpoint_url=object_store.url).read("s3://bucket/none")


def test_an_object_store_is_listed_and_read_anonymously(object_store):
    object_store.put("bucket", "store/a.txt", b"content")
    store = Store(endpoint_url=object_store.url)
    assert store.glob("s3://bucket/store/*") == ["s3://bucket/store/a.txt"]
    assert store.read("s3://bucket/store/a.txt").body == b"content"
    assert store.glob("s3://no-such-bucket/*") == []


def test_an_object_that_may_not_be_read_says_so(object_store):
    object_store.client.put_object(Bucket="bucket", Key="store/private", Body=b"x")
    with pytest.raises(ImageError, match="may not be read"):
        Store(endpoint_url=object_store.url).read("s3://bucket/store/private")


def test_a_store_that_does_not_answer_is_tried_again_and_named():
    with pytest.raises(ImageError, match="tried 2 times"):
        Store(endpoint_url="http://127.0.0.1:9", retries=1).read("s3://bucket/a")
    with pytest.raises(InputError, match="expected a store that answers"):
        Store(endpoint_url="http://127.0.0.1:9", retries=1).glob("s3://bucket/*")


def test_truncated_and_corrupted_bodies_are_told_by_size_and_checksum():
    md5 = hashlib.md5(b"content").hexdigest()
    assert _defect(b"content", {"size": 7, "ETag": f'"{md5}"'}) == ""
    assert _defect(b"conten", {"size": 7}) == "truncated: 6 of 7 bytes came"
    assert "corrupted" in _defect(b"contemt", {"size": 7, "ETag": f'"{md5}"'})
    assert _defect(b"content", {"size": 7, "ETag": '"abc-2"'}) == ""  # of a multi-part upload: no MD5


@pytest.fixture
def web(tmp_path):
    """A web server on loopback that serves a folder; as Store paths begin."""
    (tmp_path / "a b.tiff").write_bytes(b"II*\0 an image")
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nothing: the test's output stays its own."""


def test_files_of_a_web_server_are_read_too(tmp_path, web):
    store = Store(retries=0)
    assert store.read(f"{web}/a%20b.tiff").body == b"II*\0 an image"
    assert store.exists(f"{web}/a%20b.tiff")
    assert not store.exists(f"{web}/c.tiff")
    with pytest.raises(ImageError, match="does not exist"):
        store.read(f"{web}/c.tiff")
    mirror = Store({web: str(tmp_path)})
    assert mirror.read(f"{web}/a b.tiff").body == b"II*\0 an image"


def test_a_store_that_does_not_answer_is_no_proof_that_a_file_is_not_there(tmp_path, object_store):
    assert Store(endpoint_url="http://127.0.0.1:9").exists("s3://bucket/a")
    assert not Store(endpoint_url=object_store.url).exists("s3://bucket/none")
    assert not Store().exists(str(tmp_path / "none"))
