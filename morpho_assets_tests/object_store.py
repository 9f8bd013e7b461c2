"""An S3 server on loopback: moto's, to which the tests write with boto3 and from which the code reads with s3fs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ObjectStore:
    """`url` is the endpoint; `client` a boto3 client that may write."""

    url: str
    client: Any

    def create(self, bucket: str) -> None:
        self.client.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Put an object that anybody may read."""
        self.client.put_object(Bucket=bucket, Key=key, Body=body, ACL="public-read")

    def put_folder(self, bucket: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(bucket, str(path.relative_to(folder)), path.read_bytes())


@contextmanager
def serve() -> Iterator[ObjectStore]:
    """Serve until the block ends."""
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    secret = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    try:
        yield ObjectStore(url, boto3.client("s3", endpoint_url=url, **secret))
    finally:
        server.stop()
