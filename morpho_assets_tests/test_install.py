"""install.py: what is in the way is one sentence before any work, and a run that ended early is taken up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

import install
from install import Unfit
from morpho_assets_tests.project import ROOT

GLIBC = ("glibc", "2.36")
NEEDED = "is needed: name one, as in `make demo PYTHON=/path/to/python3.12`"


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (4, 0)])
def test_a_python_without_wheels_is_named_with_the_ones_that_have_them(version: tuple[int, int]) -> None:
    with pytest.raises(Unfit, match=rf"is Python {version[0]}\.{version[1]}, and Python 3\.11 to 3\.14 {NEEDED}"):
        install.check_interpreter(version, free_threaded=False)


def test_a_python_without_the_gil_is_another_one() -> None:
    install.check_interpreter((3, 14), free_threaded=False)
    with pytest.raises(Unfit, match=r"Python 3\.14 without the GIL"):
        install.check_interpreter((3, 14), free_threaded=True)


@pytest.mark.parametrize(
    ("system", "machine", "libc", "found"),
    [
        ("linux", "x86_64", ("glibc", "2.17"), "this Linux has glibc 2.17"),
        ("linux", "x86_64", ("", ""), "Alpine's musl"),
        ("linux", "armv7l", GLIBC, "no wheels for linux on armv7l"),
        ("darwin", "x86_64", ("", ""), "no wheels for darwin on x86_64"),
        ("win32", "AMD64", ("", ""), "no wheels for win32"),
    ],
)
def test_a_system_without_wheels_is_named(system: str, machine: str, libc: tuple[str, str], found: str) -> None:
    with pytest.raises(Unfit, match=found):
        install.check_platform(system, machine, libc)


@pytest.mark.parametrize(
    ("system", "machine", "libc"),
    [("linux", "x86_64", GLIBC), ("linux", "aarch64", ("glibc", "2.28")), ("darwin", "arm64", ("", ""))],
)
def test_systems_with_wheels_pass(system: str, machine: str, libc: tuple[str, str]) -> None:
    install.check_platform(system, machine, libc)


def test_a_python_without_venv_says_which_package_has_it() -> None:
    install.check_venv({"venv", "ensurepip"})
    with pytest.raises(Unfit, match=r"apt install python3\.\d+-venv"):
        install.check_venv({"venv"})


def test_a_small_disk_is_told_with_how_to_need_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(install.shutil, "disk_usage", lambda place: usage(5e9))
    install.check_disk(tmp_path, tmp_path, "cpu")
    with pytest.raises(Unfit, match=r"has 5\.0 GB free and 11\.5 GB are needed: make room, or TORCH_INDEX"):
        install.check_disk(tmp_path, tmp_path, "cuda")


def test_cuda_is_what_brings_the_libraries_of_nvidia() -> None:
    assert install.which_torch(["torch", "nvidia-cublas", "sympy"]) == install.which_torch(None) == "cuda"
    assert install.which_torch(["torch", "sympy"]) == "cpu"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}, "cannot be reached: set HTTPS_PROXY where a proxy is needed"),
        (
            {"PIP_INDEX_URL": "https://example.invalid/simple", "PIP_PROXY": "http://127.0.0.1:9"},
            "through the proxy http://127.0.0.1:9: correct HTTPS_PROXY",
        ),
        (
            {"PIP_INDEX_URL": "https://example.invalid/simple", "HTTPS_PROXY": "http://127.0.0.1:9"},
            "through the proxy http://127.0.0.1:9: correct HTTPS_PROXY",
        ),
    ],
)
def test_an_index_that_does_not_answer_is_told_in_seconds(
    variables: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    # What this machine has set up besides must not answer in the index's place.
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        **variables,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unfit, match=sentence):
        install.check_index(Path(sys.executable))


@pytest.mark.parametrize(
    ("said", "proxies", "sentence"),
    [
        ("SSLError(SSLCertVerificationError(1, 'certificate verify failed'))", {}, "PIP_CERT"),
        ("ProxyError('Tunnel connection failed: 407')", {}, "through the proxy that pip is told of"),
        ("Failed to connect", {"https": "http://p:1"}, "through the proxy http://p:1"),
        ("Failed to connect", {}, "set HTTPS_PROXY where a proxy is needed"),
        ("ERROR: No matching distribution found for six==1.17.0", {}, "PIP_INDEX_URL names"),
    ],
)
def test_words_of_pip_lead_to_what_can_be_done(said: str, proxies: dict[str, str], sentence: str) -> None:
    assert sentence in install.why_no_answer(said, proxies)


def test_what_an_interrupted_pip_left_half_written_is_written_again(tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.12/site-packages"
    for name, files in {"whole-1.dist-info": ["METADATA", "INSTALLER"], "half-2.dist-info": ["METADATA"]}.items():
        (packages / name).mkdir(parents=True)
        for file in files:
            (packages / name / file).write_text("")
    assert install.forget_half_installed(tmp_path) == ["half-2.dist-info"]
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


def test_an_environment_whose_python_is_gone_is_made_anew(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to(tmp_path / "removed/python3.9")
    install._make(environment)
    assert install._runs(environment / "bin/python", "import pip")
    # One that was left before it had pip gets it, and keeps what it has.
    kept = environment / "kept"
    kept.write_text("")
    subprocess.run([environment / "bin/python", "-m", "pip", "uninstall", "--yes", "--quiet", "pip"], check=True)
    install._make(environment)
    assert install._runs(environment / "bin/python", "import pip")
    assert kept.exists()


@pytest.mark.parametrize("python", ["no-such-python", sys.executable])
def test_make_names_an_interpreter_that_is_wrong_before_any_work(python: str, tmp_path: Path) -> None:
    if python == sys.executable:
        python = str(tmp_path / "old")
        Path(python).write_text("#!/bin/sh\ncase $1 in --version) echo Python 3.9.2;; *) exit 1;; esac\n")
        Path(python).chmod(0o755)
    made = subprocess.run(
        ["make", "demo", f"PYTHON={python}", f"VENV={tmp_path / 'environment'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    found = "not there" if python == "no-such-python" else "Python 3.9.2"
    assert made.returncode != 0
    assert f"Python 3.11 to 3.14 is needed, and {python} is {found}: install one, or name it" in made.stdout
    assert not (tmp_path / "environment").exists()


def test_make_without_any_interpreter_says_which_are_needed(tmp_path: Path) -> None:
    """On a path with nothing on it but what make itself starts."""
    make = shutil.which("make")
    assert make is not None
    made = subprocess.run(
        [make, "demo", "SHELL=/bin/sh", f"VENV={tmp_path / 'environment'}"],
        cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode != 0
    assert "Python 3.11 to 3.14 is needed, and python3 is not there: install one" in made.stdout
