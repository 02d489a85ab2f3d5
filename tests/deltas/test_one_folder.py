"""Adding a method is one folder and no other edit: on a copy of the package, the suite picks a new one up."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SPEC = '''"""What a gain declares: one factor for a whole sublayer."""

from autodelta.deltas.spec import ALL_SUBLAYERS, SUBLAYERS, MethodConfig, MethodSpec, Order


class GainConfig(MethodConfig):
    """A gain has no sizes."""


class GainSpec(MethodSpec):
    """One parameter a site."""

    name = "gain"
    family = "addition"
    order = Order.SCALE
    parts = SUBLAYERS
    config = GainConfig
    small = (GainConfig(),)
    usual = ALL_SUBLAYERS
    formula = "g y"
    mergeable = "no"
    identity_at_start = True
    source = "this test"

    def count(self, sites, config, shape):
        return len(sites)


SPEC = GainSpec()
'''
DELTA = '''"""A gain's modules."""

import torch
from torch import nn

from autodelta.deltas.base import DeltaModule, Slot


class GainSlot(Slot):
    """g y."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x, y, weight):
        return y * self.gain


def build(config, places, shape, draw):
    """The modules of one gain."""
    return DeltaModule({place.site: GainSlot() for place in places})
'''


def test_a_method_that_is_one_new_folder_is_registered_and_passes_the_suite(tmp_path: Path) -> None:
    for name in ("autodelta", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    folder = tmp_path / "autodelta" / "deltas" / "gain"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A gain."""\n')
    (folder / "spec.py").write_text(SPEC)
    (folder / "delta.py").write_text(DELTA)

    listed = "from autodelta import deltas; print(*deltas.names())"
    names = subprocess.run([sys.executable, "-c", listed], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "gain" in names.stdout.split()

    suite = ["tests/deltas/test_conformance.py", "-k", "gain and (original or test_pair and prompt)"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suite]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "12 passed" in ran.stdout  # every rule, and a pair
