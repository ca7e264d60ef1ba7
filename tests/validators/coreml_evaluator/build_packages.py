"""Builds every package that the Core ML evaluator's tests need, in one process: importing coremltools takes seconds.

Usage: build_packages.py OUT. Each test module beside this file may have two tables:

- `CASES`: name -> (deployment target, inputs, build, expected). `build(mb, **inputs)` returns the program's results.
  The package goes to `OUT/<name>.mlpackage`. What coremltools' own `value_inference` gives for the same inputs as
  constants goes to `OUT/<name>.npz`, where it has one.
- `PACKAGES`: name -> function of (ct, mb) that returns a converted model.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import runpy
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules["tensorflow"] = None  # coremltools imports it where it can; it is not needed here and takes 5 s
logging.disable(logging.WARNING)

import coremltools as ct  # noqa: E402  # after the settings above
import numpy as np  # noqa: E402
from coremltools.converters.mil import mil  # noqa: E402
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import Function  # noqa: E402
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry  # noqa: E402
from coremltools.converters.mil.mil.types import numpy_type_to_builtin_type  # noqa: E402


def as_list(results):
    return list(results) if isinstance(results, (list, tuple)) else [results]


def build_case(target, inputs, build):
    """Returns the converted model of one case, unoptimised, so that the operators stay as written."""
    program = mil.Program()
    placeholders = {
        name: mb.placeholder(shape=array.shape, dtype=numpy_type_to_builtin_type(array.dtype))
        for name, array in inputs.items()
    }
    with Function(placeholders, opset_version=ct.target[target]) as function:
        function.set_outputs(as_list(build(mb, **function.inputs)))
        program.add_function("main", function)
    return convert(program, target)


def convert(program, target):
    return ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=ct.target[target],
        compute_precision=ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )


def inferred(target, inputs, build):
    """Returns what coremltools computes for constant inputs: one array a result, none where an operator cannot."""
    values = {}
    try:
        with Function({}, opset_version=ct.target[target]):
            results = as_list(build(mb, **{name: mb.const(val=array) for name, array in inputs.items()}))
            for index, result in enumerate(results):
                value = getattr(result, "val", None)
                if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
                    values[f"result{index}"] = np.asarray(value)
    except Exception:  # value_inference is incomplete in many ways; a case needs it nowhere
        return values
    return values


def main(out):
    gc.freeze()  # ct.convert collects garbage each time: without this, all that importing made is looked at again
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = runpy.run_path(str(path))
        for name, (target, inputs, build, _) in module.get("CASES", {}).items():
            build_case(target, inputs, build).save(str(out / f"{name}.mlpackage"))
            np.savez(out / f"{name}.npz", **inferred(target, inputs, build))
        for name, make in module.get("PACKAGES", {}).items():
            make(ct, mb).save(str(out / f"{name}.mlpackage"))
    (out / "registry.json").write_text(json.dumps(sorted(SSAOpRegistry.core_ops)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
