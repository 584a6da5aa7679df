"""The wheel, installed where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["pixelcnn_lit", "conf", "sweeps"]
FILES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"]
TINY = [
    "trainer=cpu", "debug=fast", "model.network.num_filters=4", "model.network.num_hierarchies=1",
    "callbacks.samples=null",
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # six commands, each a new process


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building leaves folders beside its sources."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    for name in FOLDERS:
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=unneeded)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder / "out", source], check=True)
    [built] = (folder / "out").iterdir()
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script of a new environment that reuses what is installed in this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    # what a .pth file adds is no site folder: the checkout installed there is not found
    (packages / "reused.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--ignore-installed", wheel], check=True)
    return folder / "bin/pixelcnn-lit"


def test_it_holds_every_configuration_and_sweep(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("conf", "sweeps"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert {f"pixelcnn_lit/{path.relative_to(ROOT)}" for path in files} <= names


def test_from_an_empty_folder_a_model_is_trained_measured_drawn_from_and_swept(
    program: Path, tmp_path: Path
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*words: str) -> str:
        ended = subprocess.run(
            [program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    where = "import pixelcnn_lit; print(pixelcnn_lit.__file__)"
    python = [program.with_name("python"), "-c", where]
    found = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(program.parents[1]))
    assert "train" in run()
    run("train", *TINY)
    [run_dir] = (tmp_path / "runs").glob("pp-digits/*")
    assert "bits/dim" in run("evaluate", f"checkpoint={run_dir}", "max_images=8", "device=cpu")
    run("sample", f"checkpoint={run_dir}", "device=cpu")
    assert list(tmp_path.rglob("samples.png"))
    assert "1 trials by" in run("sweep", "pp_grid", "--offline", "--count", "1", *TINY)
    assert list((tmp_path / "runs/sweep-pp_grid").rglob("best.ckpt"))
