"""An artifact in the cache: found again while all that it depends on is the same, a plug-in's code included."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit import registry
from edgekit.formats import table
from edgekit.model import CapturedModel, TensorSpec
from edgekit.pipeline.convert import Converted, convert
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Precision, Recipe
from edgekit.samples import Samples, write_samples
from edgekit.workers import code_digest
from edgekit.workers.cache import Cache

MINI = """
from edgekit.converters.base import Conversion, Converter
from edgekit.formats.format import Format, Runtime

FORMAT = Format(
    name="mini", title="Mini", suffix=".mini", converter="mini_convert:Mini", session="",
    runtime=Runtime(title="Mini", modules=(), install="", module_title="mini"),
)

class Mini(Converter):
    runtime = "mini"
    gains_by_samples = frozenset({"int8_dynamic"})

    def why_not(self, kind, recipe):
        return None

    def convert(self, request, output, progress):
        output.write_text("written by version A" + (" with samples" if request.calibration else ""))
        return Conversion(inputs=request.model.inputs, outputs=request.model.outputs)
"""


RECIPE = Recipe()


def forget() -> None:
    """Drops what a new process would not know of plug-ins either."""
    importlib.invalidate_caches()
    for kept in (registry._joined, table._loaded, code_digest._digest_of, code_digest.plugin_digest):
        kept.cache_clear()
    sys.modules.pop("mini_convert", None)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Converted]]:
    """Converts with the plug-in, as it stands in its file, in a worker process."""
    facts = tmp_path / "site" / "mini-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mini\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[edgekit.formats]\nmini = mini_convert:FORMAT\n")
    monkeypatch.syspath_prepend(str(facts.parent))
    monkeypatch.setenv("PYTHONPATH", str(facts.parent), prepend=":")
    (tmp_path / "float.pt2").write_bytes(b"")
    spec = TensorSpec(name="x", shape=(1, 3), dtype="float32")
    model = CapturedModel(
        name="n", source="n.py:f", source_kind="torch", kind="pt2", path=tmp_path / "float.pt2", inputs=(spec,),
        outputs=(spec,), digest="d", parameters=1, macs=1, family="cnn",
    )  # fmt: skip

    # This process loads the plug-in too: bytecode of it would hide an edit within the same second.
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def run_version(version: str, recipe: Recipe = RECIPE, samples: Samples | None = None) -> Converted:
        (facts.parent / "mini_convert.py").write_text(MINI.replace("version A", f"version {version}"))
        forget()
        return convert(model, "mini", recipe, samples, Settings(cache=Cache(root=tmp_path / "cache")))

    yield run_version
    forget()


def test_an_edited_plug_in_makes_its_artifact_anew(run: Callable[..., Converted]) -> None:
    first, again, edited, back = (run(version) for version in "AABA")
    assert [made.cached for made in (first, again, edited, back)] == [False, True, False, True]
    texts = [made.artifact.path.read_text() for made in (first, edited, back)]
    assert texts == ["written by version A", "written by version B", "written by version A"]


@pytest.mark.parametrize(
    ("precision", "text"),
    [("int8_dynamic", "written by version A with samples"), ("int8_weights", "written by version A")],
)
def test_a_converter_gets_the_samples_by_which_a_precision_gains(
    run: Callable[..., Converted], tmp_path: Path, precision: Precision, text: str
) -> None:
    samples = write_samples(tmp_path / "samples", ["x"], [(np.zeros((1, 3), np.float32),)])
    assert run("A", Recipe(default=precision), samples).artifact.path.read_text() == text
