"""Packages for the Core ML evaluator's tests: built once, in a process of their own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The folder with every package that `build_packages.py` makes."""
    if importlib.util.find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed")
    out = tmp_path_factory.mktemp("packages")
    script = Path(__file__).with_name("build_packages.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    made = subprocess.run(
        [sys.executable, str(script), str(out)], capture_output=True, text=True, check=False, env=environment
    )
    assert made.returncode == 0, made.stderr[-4000:]
    return out


@pytest.fixture
def run_case(packages):
    """Runs a case's package and compares it with the case's reference, and with coremltools' own where there is one."""
    from edgekit.validators.coreml_evaluator import load

    def run(name, case, tolerance=2e-5, *, against_inference=True):
        _, inputs, _, reference = case
        program = load(packages / f"{name}.mlpackage", threads=1)
        results = list(program.run(inputs).values())
        expected = reference(*inputs.values())
        expected = expected if isinstance(expected, list) else [expected]
        assert len(results) == len(expected)
        own = np.load(packages / f"{name}.npz")
        for index, (result, want) in enumerate(zip(results, expected, strict=True)):
            _assert_same(result, np.asarray(want), tolerance)
            if against_inference and f"result{index}" in own:
                _assert_same(result, own[f"result{index}"], tolerance)

    return run


def _assert_same(result, want, tolerance):
    assert result.shape == want.shape
    np.testing.assert_allclose(result.astype(np.float64), want.astype(np.float64), rtol=tolerance, atol=tolerance)
