"""Why a framework could not convert: the operator, its layer and the user's line, and no Python internals."""

from __future__ import annotations

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
