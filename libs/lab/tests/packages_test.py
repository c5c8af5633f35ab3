"""A person's own packages over an environment that cannot be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datalabs_lab import packages


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An environment with one package and a kernel, as an image has."""
    under = tmp_path / "image"
    packages.site_of(under).mkdir(parents=True)
    (packages.site_of(under) / "shipped.py").write_text("version = 1\n")
    spec = under / "share" / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps({"argv": ["python", "-m", "ipykernel"], "display_name": "P"})
    )
    (spec / "logo-64x64.png").write_bytes(b"a picture")
    return under


def said(folder: Path, program: str) -> str:
    done = subprocess.run(
        [folder / "bin" / "python", "-c", program], capture_output=True, text=True, check=True, env={}
    )
    return done.stdout.strip()


def test_what_is_shipped_shines_through_and_what_is_added_comes_first(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "home" / "mine"
    packages.lay(folder, under=image)
    assert said(folder, "import shipped, sys; print(shipped.version, sys.prefix)") == f"1 {folder}"
    (packages.site_of(folder) / "shipped.py").write_text("version = 2\n")
    packages.lay(folder, under=image)
    assert said(folder, "import shipped; print(shipped.version)") == "2"


def test_another_image_takes_the_old_ones_place(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "mine"
    packages.lay(folder, under=tmp_path / "older")
    packages.lay(folder, under=image)
    assert said(folder, "import shipped; print(shipped.version)") == "1"


def test_kernels_run_in_the_persons_environment(tmp_path: Path, image: Path) -> None:
    packages.kernel(tmp_path / "mine", tmp_path / "run", under=image)
    packages.kernel(tmp_path / "mine", tmp_path / "run", under=image)
    about = json.loads((tmp_path / "run" / "kernels" / "python3" / "kernel.json").read_text())
    assert about["argv"] == [f"{tmp_path}/mine/bin/python", "-m", "ipykernel"]
    assert about["display_name"] == "P"
    logo = tmp_path / "run" / "kernels" / "python3" / "logo-64x64.png"
    assert logo.resolve() == logo, "Jupyter serves nothing from outside the kernel's folder"
    assert logo.read_bytes() == b"a picture"


def test_where_the_home_cannot_be_written_the_image_serves_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(packages.FOLDER_VARIABLE, str(tmp_path / "file" / "mine"))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    packages.offer(os.environ, tmp_path)
    assert "VIRTUAL_ENV" not in os.environ
    assert "not available" in capsys.readouterr().err


def test_without_a_named_folder_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(packages.FOLDER_VARIABLE, raising=False)
    before = dict(os.environ)
    packages.offer(os.environ, tmp_path)
    assert dict(os.environ) == before
    assert sys.prefix
