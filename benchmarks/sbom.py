"""The bill of materials in the wheel, morpho_assets/sbom.cdx.json: what the package runs with, and its weights.

    python -m benchmarks.sbom

CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json): every pin of constraints.txt with its package URL and the sha256 of
its Linux wheels (constraints-hashed.txt), and every weights file with its own. Made from files of the repository alone,
so that it is the same bytes each time.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "morpho_assets" / "sbom.cdx.json"
WEIGHTS = (".pt", ".pth", ".safetensors")


def hashes() -> dict[tuple[str, str], list[str]]:
    """The sha256 of the wheels of each pin, by canonical name and version."""
    text = (ROOT / "constraints-hashed.txt").read_text().replace("\\\n", " ")
    found: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line.partition("--hash")[0].strip())
            version = next(iter(pin.specifier)).version
            found[canonicalize_name(pin.name), version] = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
    return found


def bill() -> dict[str, Any]:
    """The bill as JSON holds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known, components = hashes(), []
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not (text := line.partition("#")[0].strip()):
            continue
        pin = Requirement(text)
        name, version = canonicalize_name(pin.name), next(iter(pin.specifier)).version
        purl = f"pkg:pypi/{name}@{version}"
        sums = [{"alg": "SHA-256", "content": each} for each in known.get((name, version), ())]
        entry: dict[str, Any] = {"type": "library", "bom-ref": f"{purl}#{text}" if pin.marker else purl, "name": name,
                                 "version": version, "purl": purl, "scope": "required"}  # fmt: skip
        if pin.marker:
            entry["properties"] = [{"name": "morpho:marker", "value": str(pin.marker)}]
        if len(sums) == 1:
            entry["hashes"] = sums
        elif sums:  # one of them for each Python and platform
            entry["externalReferences"] = [{"type": "distribution", "url": purl, "hashes": [each]} for each in sums]
        components.append(entry)
    for file in sorted((ROOT / "morpho_assets").rglob("*")):
        if file.suffix in WEIGHTS:
            name, sha256 = str(file.relative_to(ROOT)), hashlib.sha256(file.read_bytes()).hexdigest()
            components.append({"type": "machine-learning-model", "bom-ref": name, "name": name,
                               "hashes": [{"alg": "SHA-256", "content": sha256}]})  # fmt: skip
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    body = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": own, "name": project["name"],
                                   "version": project["version"], "purl": own,
                                   "licenses": [{"license": {"id": project["license"]}}]}},
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [each["bom-ref"] for each in components]}],
    }  # fmt: skip
    name = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", **body,
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"}  # fmt: skip


def text() -> str:
    return json.dumps(bill(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
