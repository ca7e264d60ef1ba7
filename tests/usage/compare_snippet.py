"""Runs one Python snippet of `usage/` and edgekit's own runner on the same inputs. Run as a script: FOLDER RUNTIME.

Prints {"output": [what the snippet computed, what the runner computed]} as JSON, for three rows.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from pathlib import Path

import numpy as np

# Frameworks import TensorFlow where they find it, for nothing that is used here: 7 s.
sys.modules["tensorflow"] = None  # type: ignore[assignment]  # this is how Python marks a module as not importable

from edgekit.validators.execution import RUNNER  # noqa: E402  after the line above


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lend_an_evaluator() -> None:
    """Puts edgekit's evaluator in the place of Apple's runtime, which runs on macOS only."""
    import coremltools

    from edgekit.validators import coreml_evaluator

    class Model:
        def __init__(self, path: str) -> None:
            self._program = coreml_evaluator.load(path)

        def predict(self, arrays):
            return self._program.run(arrays)

    coremltools.models.MLModel = Model


def example(specs, random):
    return {
        name: random.standard_normal(spec["shape"]).astype(np.float32)
        if spec["scale"] is not None or spec["dtype"].startswith("float")
        else random.integers(0, 2, spec["shape"]).astype(spec["dtype"])
        for name, spec in specs.items()
    }


def main(folder: Path, runtime: str) -> None:
    if runtime == "coreml" and platform.system() != "Darwin":
        lend_an_evaluator()
    report = json.loads((folder / "report.json").read_text())
    (artifact,) = [item for item in report["artifacts"] if item["runtime"] == runtime]
    (path,) = (folder / "usage").glob(f"*_{runtime}.py")
    snippet = load(path)
    assert (folder / artifact["path"]).samefile(snippet.MODEL)
    names = [name for name in vars(snippet) if name.lower() == path.stem.replace("_", "")]
    model = getattr(snippet, names[0])()
    runner = load(RUNNER)
    opened = runner.OpenArtifact(runner.load_runtime(runtime, snippet.MODEL, "", 1), snippet.MODEL, {})
    random = np.random.default_rng(0)
    found = {name: [[], []] for name in snippet.OUTPUTS}
    for _ in range(3):
        arrays = example(snippet.INPUTS, random)
        ours = opened.real(opened.run(opened.prepare([arrays[spec["name"]] for spec in opened.inputs])))
        theirs = model.run(arrays)
        for spec, values in zip(opened.outputs, ours, strict=True):
            found[spec["name"]][0].append(np.asarray(theirs[spec["name"]], np.float64).tolist())
            found[spec["name"]][1].append(np.asarray(values, np.float64).tolist())
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
