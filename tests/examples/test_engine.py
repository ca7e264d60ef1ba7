"""The example of an engine: found by its entry point, it keeps the contract. Needs Dask, which no extra installs."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.engines.engine import find_engine
from edgekit.errors import MachineError
from edgekit.testing.engine_contract import EngineContract

EXAMPLE = Path(__file__).parents[2] / "examples" / "engine"

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Dask leaves sockets for its garbage collector
]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example on the path with an entry point, as an installation leaves it."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "edgekit_dask.py").write_text((EXAMPLE / "edgekit_dask.py").read_text())
    facts = folder / "edgekit_dask-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: edgekit-dask\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("[edgekit.engines]\ndask = edgekit_dask:DaskEngine\n")
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    patch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
    importlib.invalidate_caches()
    registry._joined.cache_clear()
    yield
    patch.undo()
    registry._joined.cache_clear()


class TestDask(EngineContract):
    name = "dask"


def test_a_machine_of_the_cluster_that_differs_is_an_error_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.engines.machine_check.code_fingerprint", lambda: "0123")
    with pytest.raises(MachineError, match=r"^Machines of the Dask cluster differ from this one, and nothing was star"):
        find_engine("dask", 1)
