"""What a disk or a store refuses, in one sentence; how often a call is made before it is given up."""

import errno
import sqlite3

import duckdb
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from morpho_assets.errors import InputError, LakeError
from morpho_assets.refusals import refusal, told
from morpho_assets.retry import ATTEMPTS, UNANSWERED, retried


def of_sqlite(tmp_path):
    """SQLite's own error, of a database that may only be read."""
    sqlite3.connect(tmp_path / "a.db").execute("CREATE TABLE a (b)")
    connection = sqlite3.connect(f"file:{tmp_path}/a.db?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as found:
        connection.execute("INSERT INTO a VALUES (1)")
    connection.close()
    return found.value


def answered(status, code):
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = PermissionError(code)
    error.__cause__ = ClientError(response, "GetObject")
    return error


@pytest.mark.parametrize(("error", "sentence"), [
    (OSError(errno.ENOSPC, "x", "/d/f"), "/d/f cannot be written: no space is left. Free some"),
    (OSError(errno.EDQUOT, "x"), "the lake cannot be written: the quota is used up."),
    (OSError(errno.EROFS, "x", b"/d"), "/d: the disk is read-only. Give"),
    (PermissionError(errno.EACCES, "x", "/d"), "/d: permission denied. Give"),
    (duckdb.IOException("IO Error: No space left on device"), "the lake cannot be written: no space is left"),
    (answered(403, "InvalidAccessKeyId"), "the lake refuses (403 InvalidAccessKeyId). Check the key"),
    (EndpointConnectionError(endpoint_url="http://x"), "the lake does not answer (EndpointConnectionError"),
    (ConnectionResetError("x"), "the lake does not answer (ConnectionResetError: x)"),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "")  # fmt: skip
def test_a_refusal_is_one_sentence_with_what_to_do(error, sentence):
    assert refusal(error, "the lake").startswith(sentence)
    outer = RuntimeError("in the middle of something")
    outer.__cause__ = error
    with pytest.raises(LakeError) as found, told("the lake"):
        raise outer
    assert str(found.value).startswith(sentence)
    assert "\n" not in str(found.value)


def test_dagster_s_database_is_named(tmp_path):
    assert refusal(of_sqlite(tmp_path)).startswith("Dagster's database cannot be written: it is read-only.")


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "x", "/d"), KeyError("x")])
def test_any_other_error_stays_what_it_is(error):
    assert refusal(error) is None
    with pytest.raises(type(error)), told():
        raise error


def test_an_error_of_ours_is_not_told_twice():
    with pytest.raises(InputError), told():
        raise InputError("f", "", "a", "b", "c")


@pytest.mark.parametrize(("error", "calls"), [
    (ConnectionResetError(), ATTEMPTS), (ConnectionRefusedError(), UNANSWERED),
    (EndpointConnectionError(endpoint_url="http://x"), UNANSWERED), (answered(403, "AccessDenied"), 1),
], ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value))  # fmt: skip
def test_a_wrong_address_is_given_up_sooner_than_a_bad_network(error, calls):
    made, pauses = [], []

    def call():
        made.append(None)
        raise error

    with pytest.raises(type(error)):
        retried(call, remote=True, pause=pauses.append)
    assert len(made) == calls
    assert len(pauses) == calls - 1
