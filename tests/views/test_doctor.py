"""doctor: versions that belong together, and the line that mends what does not."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from graphrec.verify import environment
from graphrec.verify.environment import Finding, Report, examine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `doctor` finds installed; change it to see what it says."""
    versions = {
        **environment.REQUIRED,
        "torch": "2.13.0+cpu",
        "triton": "3.7.1",
        "torchrec": "1.8.0",
        "fbgemm-gpu-cpu": "1.8.0",
        "tensorboard": "2.21.0",
    }

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(environment.metadata, "version", version)
    monkeypatch.setattr(environment.metadata, "requires", lambda name: [])
    return versions


def errors() -> list[Finding]:
    return list(examine(imports=False).errors)


def test_a_good_set_is_fine(installed: dict[str, str]) -> None:
    assert errors() == []
    assert "all that is needed is here" in examine(imports=False).as_text()


def test_a_cuda_fbgemm_beside_a_cpu_torch(installed: dict[str, str]) -> None:
    installed["fbgemm-gpu"] = "1.8.0"
    (finding,) = errors()
    assert finding.what == "fbgemm-gpu"
    assert finding.value == "does not go with torch 2.13.0+cpu, a CPU build"
    assert finding.mend.startswith(
        "pip uninstall -y fbgemm-gpu fbgemm-gpu-cpu && pip install --no-deps fbgemm-gpu-cpu==1.8.0"
    )


def test_a_cpu_fbgemm_beside_a_cuda_torch(installed: dict[str, str]) -> None:
    installed["torch"] = "2.13.0+cu130"
    (finding,) = errors()
    assert finding.what == "fbgemm-gpu-cpu" and "a CUDA build" in finding.value


def test_torchrec_without_fbgemm(installed: dict[str, str]) -> None:
    del installed["fbgemm-gpu-cpu"]
    (finding,) = errors()
    assert finding.mend == "pip install --no-deps fbgemm-gpu-cpu==1.8.0"


def test_releases_that_do_not_belong_together(installed: dict[str, str]) -> None:
    installed["torchrec"] = "1.4.0"
    installed["torch"] = "2.7.1+cpu"
    assert [(f.what, f.value) for f in errors()] == [
        ("torch", "2.7.1+cpu, but 2.13 belongs to this graphrec"),
        ("torchrec", "1.4.0, but 1.8 belongs to this graphrec"),
    ]


def test_missing_packages(installed: dict[str, str]) -> None:
    del installed["pyarrow"], installed["triton"]
    assert [(f.what, f.mend) for f in errors()] == [("pyarrow", "pip install pyarrow")]
    text = examine(imports=False).as_text()
    assert "!  pyarrow" in text and "1 thing to mend (!)" in text
    assert "-  triton" in text and "pip install triton==3.7.1" in text


def test_what_it_asks_for_is_what_the_project_pins() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = dict(line.split(" ")[0].split("==") for line in lock.splitlines() if "==" in line)
    for name, wanted in environment.SET.items():
        if name in pins:
            assert environment._is_release(pins[name], wanted), name
    for _, line in environment.EXTRAS.values():
        for word in line.format(fbgemm="fbgemm-gpu-cpu").split():
            name, _, version = word.partition("==")
            assert not version or pins[name] == version, word


def test_what_it_needs_is_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = dict(
        re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<\d+)?", text).groups()  # type: ignore[union-attr]
        for text in project["dependencies"]
    )
    assert {name.lower(): oldest for name, oldest in environment.REQUIRED.items()} == declared
    pinned = dict(text.split("==") for text in project["optional-dependencies"]["torchrec"])
    for name, release in pinned.items():
        assert environment._is_release(release, environment.SET[name]), name


def test_newer_releases_are_fine_alone_and_not_beside_torchrec(installed: dict[str, str]) -> None:
    """What `pip install` brings to a clean environment: the newest of everything, no torchrec."""
    installed.update(torch="2.14.1", torchmetrics="1.8.2")
    for name in ("torchrec", "triton", "fbgemm-gpu-cpu"):
        del installed[name]
    assert errors() == []
    installed["triton"] = "3.7.1"
    assert [finding.what for finding in errors()] == ["torch"]
    installed.update({"torchrec": "1.8.0", "fbgemm-gpu": "1.8.0", "fbgemm-gpu-cpu": "1.8.0"})
    assert {finding.what for finding in errors()} >= {"torch", "torchmetrics"}


def test_releases_that_are_too_old(installed: dict[str, str]) -> None:
    installed["pyarrow"] = "17.0.1"
    (finding,) = errors()
    assert finding.value == "17.0.1, but graphrec needs 18 or newer"
    assert finding.mend == "pip install 'pyarrow>=18'"


def test_this_machine_can_import_torch() -> None:
    loaded, said = environment._import("import torch; print(torch.__version__)")
    assert loaded and said == metadata.version("torch")


def test_a_broken_import_is_told_by_its_last_line() -> None:
    loaded, said = environment._import("raise OSError('libtorch_cuda.so: cannot open')")
    assert not loaded and said == "OSError: libtorch_cuda.so: cannot open"


def test_a_report_as_json() -> None:
    report = Report((Finding("error", "torch", "not installed", "pip install torch"),))
    assert report.as_json() == {
        "ok": False,
        "findings": [
            {
                "severity": "error",
                "what": "torch",
                "value": "not installed",
                "mend": "pip install torch",
            }
        ],
    }
