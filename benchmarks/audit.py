"""Whether advisories name one of the pins: pip-audit over constraints.txt, where an index of advisories is reachable.

    python -m benchmarks.audit

Without pip-audit, without a network, or where the index has packages and no advisories (as mirrors often do) it says so
and is no failure: `make check` runs it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

from benchmarks.pins import ROOT

FILES = ("constraints.txt", "constraints-dev.txt")


def audit(wait: float = 120) -> tuple[list[str], str]:
    """What advisories say of the pins, a line each; and why some or all could not be asked about, empty where all
    could."""
    if importlib.util.find_spec("pip_audit") is None:
        return [], "everything, for pip-audit is not installed (pip install pip-audit)"
    files = [part for file in FILES for part in ("--requirement", str(ROOT / file))]
    quiet = ["--progress-spinner", "off", "--timeout", "15"]
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json", *quiet, *files]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=wait, check=False)
        packages = json.loads(asked.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], f"everything, for no index of advisories answered within {wait:g} s"
    except (ValueError, KeyError):
        [why] = asked.stderr.strip().splitlines()[-1:] or ["no answer"]
        return [], f"everything, for no index of advisories is reachable ({why})"
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return [], "everything, for the index has packages and no advisories"
    reason = (
        f"{len(unknown)} of {len(packages)} pins, such as {unknown[0]}, of which the index knows nothing"
        if unknown
        else ""
    )
    told = [(package, each) for package in packages for each in package.get("vulns", [])]
    return [f"{package['name']} {package['version']}: {each['id']}, mended in {' '.join(each['fix_versions']) or '-'}"
            for package, each in told], reason  # fmt: skip


def main() -> int:
    found, reason = audit()
    if reason:
        print(f"left out of the audit: {reason}")
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
