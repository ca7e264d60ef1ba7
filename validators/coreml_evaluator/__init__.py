"""Core ML evaluator: runs a saved ML Program (`.mlpackage`) on any system, without Apple's runtime.

It reads the package's own files (manifest, protobuf, weight file with all compressed forms) and computes every
operator in torch, in fp32. With `precision="fp16"` every result that the program types as fp16 is rounded to fp16.

What it proves: that the file holds the model. Conversion, weight compression, quantization parameters, layouts and
the interface are those of the artifact, and its outputs on given inputs are right up to rounding.

What it does not prove: that a device returns the same numbers. It is not Apple's runtime. How the Neural Engine and
the GPU accumulate in fp16, how they fuse operators, how ties are rounded, and which compute unit runs what are not
modelled; nor is speed. Random operators draw other values than a device (`Program.random_operators` names them).

    program = load("model.mlpackage")
    outputs = program.run({"x": array})
"""

from __future__ import annotations

from edgekit.validators.coreml_evaluator.arithmetic import describe_package
from edgekit.validators.coreml_evaluator.features import Feature
from edgekit.validators.coreml_evaluator.graph import StoredConstant
from edgekit.validators.coreml_evaluator.model_functions import function_names
from edgekit.validators.coreml_evaluator.package_file import read_package
from edgekit.validators.coreml_evaluator.program import (
    Metadata,
    Precision,
    Program,
    State,
    colour_of,
    load,
)
from edgekit.validators.coreml_evaluator.suppression import suppressed_names

__all__ = [
    "Feature",
    "Metadata",
    "Precision",
    "Program",
    "State",
    "StoredConstant",
    "colour_of",
    "describe_package",
    "function_names",
    "load",
    "read_package",
    "suppressed_names",
]
