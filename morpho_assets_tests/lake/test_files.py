"""What every store must do, whichever it is: the ledger stands on it."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from morpho_assets import retry
from morpho_assets.lake.files import ASIDE, LocalFiles, ObjectFiles, open_files, quoted, unquoted
from morpho_assets_tests.lake.faults import WAYS, Bucket, Fault, FaultyFiles, Killed, disk, no_pauses

STORES = ("local", "s3", "s3 over a bad network", "memory", "faulty")
NAMES = [
    "plain",
    "P 1",
    "[a-z]*?",
    "it's",
    'a"b',
    "50%",
    "%5B",
    "Größe/µ",
    "..",
    ".",
    "a#b",
    "a\\b",
    "{x}",
    "+&=~",
    "日本",
]


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """An empty store of each kind, under a root whose name is odd."""
    if request.param in ("local", "faulty", "memory"):
        local = LocalFiles(str(tmp_path / "the lake [1]"))
        yield {"local": local, "faulty": FaultyFiles(local), "memory": Bucket().files()}[request.param]
        return
    server = request.getfixturevalue("object_store")
    files = ObjectFiles(f"s3://bucket/{quoted(request.node.name)}/the lake [1]", server.options, attempts=20)
    if request.param == "s3":
        yield files
        return
    with (
        no_pauses(),
        server.network.spoil(*[None, "refused", None, "lost", None, "reset", None, "truncated", None] * 100),
    ):
        yield files


def in_memory(store):
    return store.remote and isinstance(store.store, Bucket)


def test_what_is_written_is_read(store):
    for content in (b"", b"text", bytes(range(256)) * 20_000):
        store.write("a/b/c", content)
        assert store.read("a/b/c") == content


def test_what_is_not_there_is_not_there(store):
    store.write("a/b", b"1")
    with pytest.raises(FileNotFoundError):
        store.read("none")
    assert store.entry("none") is None
    assert store.entry("a") is None  # a folder is no file
    assert store.entry("a/b/c") is None
    assert store.find("none") == {}
    assert store.find("a/b") == {}  # nor is a file a folder
    store.remove("none")
    store.remove("a/b")
    store.remove("a/b")
    assert store.find("") == {}


def test_a_file_is_created_once(store):
    first = store.create("ledger/1", b"mine")
    assert first or store.read("ledger/1") == b"mine"  # an answer may be lost: who must know reads it back
    assert store.create("ledger/1", b"theirs") is False
    assert store.read("ledger/1") == b"mine"
    store.write("ledger/1", b"again")
    assert store.read("ledger/1") == b"again"
    store.remove("ledger/1")
    assert store.create("ledger/1", b"theirs") or store.read("ledger/1") == b"theirs"


def test_a_local_file_is_put_and_gone_from_its_place(store, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for place in (store.aside("a/b"), store.aside("a/c"), str(elsewhere)):
        Path(place).write_bytes(place.encode())
        store.put("a/b", place)
        assert store.read("a/b") == place.encode()
        assert not Path(place).exists()


def test_a_folder_is_listed_whole_and_no_other(store):
    for path in ("a/1", "a/b/2", "a/b/c/3", "ab/4", "a.5"):
        store.write(path, path.encode())
    assert list(store.find("a")) == ["a/1", "a/b/2", "a/b/c/3"]
    assert list(store.find("a/b")) == ["a/b/2", "a/b/c/3"]
    assert sorted(store.find("")) == ["a.5", "a/1", "a/b/2", "a/b/c/3", "ab/4"]
    for path, entry in store.find("").items():
        assert entry == store.entry(path)
        assert entry.size == len(path)
        assert abs(entry.written - time.time()) < 60


def test_a_stamp_changes_with_the_content_alone(store):
    store.write("a", b"1")
    first = store.entry("a")
    assert store.entry("a") == first
    store.write("b", b"1")
    assert store.entry("a") == first
    store.write("a", b"2")
    assert store.entry("a").stamp != first.stamp


def test_listings_are_never_cached(store):
    """What another process writes and removes is seen at once."""
    other = store if in_memory(store) else pickle.loads(pickle.dumps(store))
    assert store.find("a") == {}
    other.write("a/1", b"1")
    assert list(store.find("a")) == ["a/1"]
    assert store.entry("a/1").size == 1
    other.write("a/1", b"22")
    assert store.find("a")["a/1"].size == store.entry("a/1").size == 2
    other.remove("a/1")
    assert store.find("a") == {}
    assert store.entry("a/1") is None


def test_any_name_can_be_a_part_of_a_path(store):
    paths = {f"t/k={quoted(name)}/{quoted(name)}.1": name for name in NAMES}
    assert len(paths) == len(NAMES)
    for path, name in paths.items():
        assert unquoted(path.split("/")[1].removeprefix("k=")) == name
        store.write(path, name.encode())
        assert list(store.find(path.rpartition("/")[0])) == [path]
        assert store.read(path) == name.encode()
    assert list(store.find("t")) == sorted(paths)
    for path in paths:
        store.remove(path)
    assert store.find("") == {}


def test_of_many_who_create_one_file_one_does(store):
    def create(number):
        return store.create("ledger/1", b"%d" % number) or store.read("ledger/1") == b"%d" % number

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(16))) == 1


def test_nobody_sees_half_a_file(store):
    contents = [bytes([i]) * 100_000 for i in range(4)]
    store.write("a", contents[0])
    end = threading.Event()

    def write():
        for _ in range(5):
            for content in contents:
                store.write("a", content)
        end.set()

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(write)
        while not end.is_set():
            assert store.read("a") in contents
            assert list(store.find("")) == ["a"]
        writing.result()


def test_an_object_store_is_asked_once(remote):
    """What the ledger does thousands of times is one request, also where there is nothing."""
    files, network = remote
    for question in (lambda: files.read("a/1"), lambda: files.find("a"), lambda: files.find("none"),
                     lambda: files.entry("a/1"), lambda: files.create("a/2", b"2")):  # fmt: skip
        with network.spoil() as requests:
            question()
        assert len(requests) == 1


def test_it_travels_to_a_worker(store):
    if in_memory(store):
        pytest.skip("memory is of one process")
    store.write("a", b"1")
    other = pickle.loads(pickle.dumps(store))
    assert other.read("a") == b"1"
    assert other.url("a") == store.url("a")


# What may pass is borne, what will not is raised at once


OPERATIONS = {
    "read": lambda files: files.read("a/1") == b"1",
    "write": lambda files: files.write("a/2", b"2") is None,
    "create": lambda files: files.create("a/3", b"3") or files.read("a/3") == b"3",
    "put": lambda files: files.put("a/4", _local(files)) is None,
    "find": lambda files: "a/1" in files.find("a"),
    "entry": lambda files: files.entry("a/1").size == 1,
    "remove": lambda files: files.remove("a/1") is None,
    "read a part": lambda files: files.system.open(files.url("a/1")).read(1) == b"1",
}
PASSING = ("refused", "slow down", "reset", "lost", "truncated", "garbled", "late")


def _local(files):
    place = files.aside("a/4")
    Path(place).write_bytes(b"4")
    return place


@pytest.fixture
def remote(object_store, request):
    files = ObjectFiles(f"s3://bucket/{quoted(request.node.name)}", object_store.options)
    files.write("a/1", b"1")
    with no_pauses():
        yield files, object_store.network


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_of_the_network_that_passes_is_not_seen(remote, fault, operation):
    files, network = remote
    with network.spoil(fault, fault, fault):
        assert OPERATIONS[operation](files)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ("find", "entry", "remove")])
@pytest.mark.parametrize("fault", ["forbidden", "wrong key", "missing", "unknown"])
def test_a_fault_that_lasts_is_raised_at_once(remote, fault, operation):
    files, network = remote
    with network.spoil(*[fault] * 20) as requests, pytest.raises(OSError):
        OPERATIONS[operation](files)
    assert len(requests) <= 2  # s3fs lists a name that it does not find


@pytest.mark.parametrize("operation", ["find", "entry", "remove"])
@pytest.mark.parametrize("fault", ["forbidden", "wrong key"])
def test_a_refusal_is_not_taken_for_nothing(remote, fault, operation):
    """A folder that may not be listed is no empty one."""
    files, network = remote
    with network.spoil(*[fault] * 20) as requests, pytest.raises(PermissionError):
        OPERATIONS[operation](files)
    assert len(requests) == 1


@pytest.mark.parametrize(("operation", "fault"), [
    *((operation, fault) for operation in OPERATIONS for fault in ("refused", "reset")),
    ("find", "nonsense"),  # of an object, a page that came in its place can be told only by its checksum
])  # fmt: skip
def test_a_network_that_stays_down_is_given_up(remote, fault, operation):
    files, network = remote
    with network.spoil(*[fault] * 50) as requests, pytest.raises(Exception) as caught:
        OPERATIONS[operation](files)
    assert isinstance(caught.value, retry.faults(remote=True))
    assert files.attempts <= len(requests) <= 2 * files.attempts + 2  # aiohttp opens a broken connection anew


def test_a_worker_s_copy_has_one_policy_too(remote):
    files, _ = remote
    assert pickle.loads(pickle.dumps(files)).store.retries == 1


def test_an_interrupted_call_of_the_disk_is_made_again():
    calls = []

    def busy():
        calls.append(1)
        if len(calls) < 3:
            raise InterruptedError(4, "interrupted")
        return "done"

    assert retry.retried(busy, remote=False, pause=lambda seconds: None) == "done"
    with pytest.raises(OSError):
        retry.retried(lambda: 1 / 0 if len(calls) > 3 else calls.append(1) or _full(), remote=False, pause=print)
    assert len(calls) == 4  # a full disk does not pass


def _full():
    raise OSError(28, "No space left on device")


# The disk itself


WRITERS = {
    "write": lambda files, new: files.write("a/b", b"new"),
    "create": lambda files, new: files.create("a/c", b"new"),
    "put": lambda files, new: files.put("a/b", new),
}


def _new(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(b"new")
    return path


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("writer", WRITERS)
def test_on_the_disk_a_file_is_whole_or_not_there_whatever_happens_when(tmp_path, writer, how):
    for at in range(1, 100):
        root = tmp_path / str(at)
        files = LocalFiles(str(root))
        if at % 2:
            files.write("a/b", b"old")
        fault = Fault(at, how)
        failed, new = False, _new(f"{root}/new")
        with disk(fault, root):
            try:
                WRITERS[writer](files, new)
            except (OSError, Killed):
                failed = True
        left = {path: files.read(path) for path in files.find("a")}
        assert set(left) <= {"a/b", "a/c"}
        assert left.get("a/b", b"new") in (b"old", b"new")
        assert left.get("a/c", b"new") == b"new"
        if not fault.happened:
            assert not failed
            assert at > 5
            break
        if not fault.dead and fault.name != "remove":
            assert not [path for path in root.rglob("*") if path.name.endswith(ASIDE)], fault.seen
        WRITERS[writer](files, _new(f"{root}/new"))
        assert b"new" in {files.read(path) for path in files.find("a")}
    else:
        raise AssertionError("it never ends")


def test_what_was_written_survives_a_power_cut(tmp_path):
    """A file that was written is there, in folders that were made for it, and it is whole."""
    files = LocalFiles(str(tmp_path / "lake"))
    (tmp_path / "lake").mkdir()
    fault = Fault()
    with disk(fault, tmp_path / "lake"):
        files.write("a/b/c", b"written")
        files.create("d/e", b"created")
        files.put("f/g", _new(files.aside("f/g")))
        fault.at = len(fault.seen) + 1
        fault.how = "dies"
        with pytest.raises(Killed):
            files.read("a/b/c")
    assert files.read("a/b/c") == b"written"
    assert files.read("d/e") == b"created"
    assert files.read("f/g") == b"new"


def test_the_root_says_which_store_it_is(tmp_path):
    assert not open_files(str(tmp_path), {}).remote
    assert open_files("s3://bucket/lake", {}).remote
