"""Why a framework could not convert: the operator, its layer and the user's line, and no Python internals."""

from __future__ import annotations

import re

import pytest

from edgekit.converters.failure_reason import failure_reason

LACKS = "the tool lacks"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Lowering not found: aten.foo.default\nmore"), "the tool lacks aten.foo.default"),
        (RuntimeError("<OpOverload>: PyTorch convert function for op 'foo' not implemented."), "the tool lacks foo"),
        (
            RuntimeError("loc(unknown): error: failed to legalize operation 'stablehlo.foo'\n<dump>"),
            "the tool lacks stablehlo.foo",
        ),
        (
            TypeError("'NoneType' object is not iterable"),
            "the converter failed with an error of its own (TypeError)",
        ),
        (
            KeyError("x\n\nWhile executing %foo : [num_users=1] = call_function[target=torch.ops.aten.foo.default]"),
            "the converter failed at aten.foo.default with an error of its own (KeyError)",
        ),
        (ValueError("the shape is odd.\nmore"), "the converter failed with ValueError: the shape is odd"),
        (ValueError(""), "the converter failed with ValueError: no message"),
    ],
    ids=["lowering", "convert-function", "mlir", "python", "executing", "other", "empty"],
)
def test_a_failure_is_reported_in_one_line(error, reason):
    assert failure_reason(error, LACKS) == reason


def test_the_innermost_cause_speaks():
    outer = RuntimeError("the pass failed")
    outer.__cause__ = ValueError("bad padding")
    assert failure_reason(outer, LACKS) == "the converter failed with ValueError: bad padding"


def test_an_operator_is_placed_in_the_users_model():
    torch = pytest.importorskip("torch")

    class Inner(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Inner()

        def forward(self, x):
            return self.block(x)

    program = torch.export.export(Outer(), (torch.zeros(2),))
    error = RuntimeError("Lowering not found: aten.special_bessel_j0.default")
    reason = failure_reason(error, LACKS, program)
    assert reason.startswith("the tool lacks aten.special_bessel_j0.default in the layer block (test_failure_reason.py")
    other = RuntimeError("No ONNX function found for <OpOverload(op='prims.bessel_j0', overload='default')>")
    assert " in the layer block (" in failure_reason(other, LACKS, program)


def test_a_compilers_line_is_traced_back_to_the_operator_and_its_dump_is_left_out():
    torch = pytest.importorskip("torch")

    class Up(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = torch.nn.ConvTranspose2d(2, 2, 3)

        def forward(self, x):
            return self.up(x)

    program = torch.export.export(Up(), (torch.zeros(1, 2, 4, 4),))
    node = next(node for node in program.graph.nodes if "conv_transpose2d" in str(node.target))
    file, line = re.findall(r'File "([^"]+)", line (\d+)', node.meta["stack_trace"])[-1]
    error = ValueError(f"{file}:{line}:0: error: failed to legalize 'mhlo.x' that was explicitly marked illegal: %1")
    assert re.fullmatch(
        r"the tool lacks aten\.conv_transpose2d\.input in the layer up \(test_failure_reason\.py, line \d+\) as it is "
        r"used there \(failed to legalize 'mhlo\.x'\)",
        failure_reason(error, LACKS, program),
    )


def test_the_operator_that_a_framework_was_at_is_named():
    torch = pytest.importorskip("torch")

    class Tanh(torch.nn.Module):
        def forward(self, x):
            return torch.tanh(x)

    program = torch.export.export(Tanh(), (torch.zeros(2),))

    def convert():
        for node in program.graph.nodes:
            if node.op == "call_function":
                raise ValueError("unsupported")

    with pytest.raises(ValueError, match=r"^unsupported$") as caught:
        convert()
    assert re.fullmatch(
        r"the converter failed at aten\.tanh\.default \(test_failure_reason\.py, line \d+\) with ValueError: "
        r"unsupported",
        failure_reason(caught.value, LACKS, program),
    )
