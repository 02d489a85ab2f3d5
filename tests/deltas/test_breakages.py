"""A test that cannot fail is a defect: on a copy of the package, every breakage makes its tests go red."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autodelta.deltas.spec import specs
from tests.deltas.breakages import BREAKAGES, Breakage

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    for name in ("autodelta", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("breakage", BREAKAGES, ids=[b.what.replace(" ", "_") for b in BREAKAGES])
def test_a_breakage_is_noticed(breakage: Breakage, copied: Path) -> None:
    file = copied / "autodelta" / breakage.file
    whole = file.read_text(encoding="utf8")
    file.write_text(whole.replace(breakage.old, breakage.new), encoding="utf8")
    where, *rest = shlex.split(breakage.tests)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/deltas/{where}", *rest]
    try:
        ran = subprocess.run(command, cwd=copied, capture_output=True, text=True, check=False)
    finally:
        file.write_text(whole, encoding="utf8")
    assert ran.returncode == 1, ran.stdout[-2000:]  # 1: tests ran, and some failed
    assert "failed" in ran.stdout


@pytest.mark.parametrize("breakage", BREAKAGES, ids=[b.what.replace(" ", "_") for b in BREAKAGES])
def test_a_breakage_still_fits_the_code(breakage: Breakage) -> None:
    assert (ROOT / "autodelta" / breakage.file).read_text(encoding="utf8").count(breakage.old) == 1


def test_every_method_was_broken_once() -> None:
    broken = {breakage.file.split("/")[1] for breakage in BREAKAGES if breakage.file.count("/") == 2}
    assert broken | {"full"} == set(specs())  # full is difference.py and tied embeddings
