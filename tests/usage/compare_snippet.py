"""Runs one Python snippet of `usage/` and edgekit's own runner on the same inputs. Run as a script: FOLDER RUNTIME.

Prints {"output": [what the snippet computed, what the runner computed]} as JSON, for three rows.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import types
from pathlib import Path

import numpy as np

# Frameworks import TensorFlow where they find it, for nothing that is used here: 7 s.
sys.modules["tensorflow"] = None  # type: ignore[assignment]  # this is how Python marks a module as not importable

from edgekit.formats.table import session_file  # noqa: E402  after the line above
from edgekit.validators.runner_process import RUNNER  # noqa: E402  after the line above


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lend_an_evaluator() -> None:
    """Puts edgekit's evaluator in the place of Apple's runtime, which runs on macOS only."""
    from edgekit.validators import coreml_evaluator

    class Model:
        def __init__(self, path: str) -> None:
            self._program = coreml_evaluator.load(path)

        def predict(self, arrays):
            return self._program.run(arrays)

    stand_in = types.ModuleType("coremltools")
    stand_in.models = types.SimpleNamespace(MLModel=Model)
    sys.modules["coremltools"] = stand_in


def leave_the_exporter_out() -> None:
    """Spares the import of ExecuTorch's exporter, which its runtime needs for the name of one warning: 10 s."""
    for name in ("executorch.exir", "executorch.exir._warnings"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["executorch.exir"]._warnings = sys.modules["executorch.exir._warnings"]
    sys.modules["executorch.exir._warnings"].ExperimentalWarning = UserWarning


def example(specs, random):
    return {
        spec["name"]: random.standard_normal(spec["shape"]).astype(np.float32)
        if spec["scale"] is not None or spec["dtype"].startswith("float")
        else random.integers(0, 2, spec["shape"]).astype(spec["dtype"])
        for spec in specs
    }


def main(folder: Path, runtime: str) -> None:
    report = json.loads((folder / "report.json").read_text())
    (artifact,) = [item for item in report["artifacts"] if item["runtime"] == runtime]
    random = np.random.default_rng(0)
    rows = [example(artifact["inputs"], random) for _ in range(3)]
    # The runner first: it sets the size of ExecuTorch's thread pool, which breaks programs that are loaded already.
    outputs, ours = run_by_edgekit(folder / artifact["path"], runtime, rows)
    if runtime == "coreml" and platform.system() != "Darwin":
        lend_an_evaluator()
    if runtime == "executorch":
        leave_the_exporter_out()
    (path,) = (folder / "usage").glob(f"*_{runtime}.py")
    snippet = load(path)
    assert (folder / artifact["path"]).samefile(snippet.MODEL)
    names = [name for name in vars(snippet) if name.lower() == path.stem.replace("_", "")]
    model = getattr(snippet, names[0])()
    theirs = [model.run(row) for row in rows]
    found = {name: [[listed(row[name]) for row in theirs], [listed(row[name]) for row in ours]] for name in outputs}
    sys.stdout.write(json.dumps(found))


def run_by_edgekit(path: Path, runtime: str, rows):
    runner = load(RUNNER)
    opened = runner.OpenArtifact(runner.load_runtime(session_file(runtime), path, "", 1), path, {})
    names = [spec["name"] for spec in opened.outputs]
    results = [opened.real(opened.run(opened.prepare([row[spec["name"]] for spec in opened.inputs]))) for row in rows]
    return names, [dict(zip(names, values, strict=True)) for values in results]


def listed(values):
    return np.asarray(values, np.float64).tolist()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
