"""The documented way to send lineage: run as it stands on the page, against a server on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from morpho_assets_tests.project import ROOT, Project


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    """An address that takes events, and what it was sent."""
    events: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            assert self.headers["Content-Type"] == "application/json"
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", events
        http.shutdown()
        thread.join()


@pytest.mark.slow
def test_the_page_s_program_sends_every_event_of_a_table(
    demo: tuple[Project, str], server: tuple[str, list[Any]], tmp_path: Path
) -> None:
    address, events = server
    [program] = re.findall(r"```py\n(.*?)```", (ROOT / "docs/ledger.md").read_text(), re.DOTALL)
    folder = demo[0].folder
    morpho = tmp_path / "morpho"
    morpho.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m morpho_assets.cli "$@"\n')
    morpho.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
                   "MORPHO_SETTINGS": str(folder / "morpho.yaml")}  # fmt: skip
    program = program.replace("http://127.0.0.1:5000", address)
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, check=True)
    jobs = [event["job"]["name"] for event in events]
    chain = ["plate_manifest of plate SYN00000001", "feature_space of study demo", "evaluation of study demo"]
    assert [job for job in jobs if job in chain] == chain  # sources first
    for event in events:  # what OpenLineage 2-0-2 asks of a RunEvent
        assert uuid.UUID(event["run"]["runId"])
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert event["producer"].startswith("https://")
        assert event["schemaURL"].endswith("#/$defs/RunEvent")
        assert all(each["namespace"] and each["name"] for each in [event["job"], *event["inputs"], *event["outputs"]])
