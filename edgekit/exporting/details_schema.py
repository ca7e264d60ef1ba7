"""The form of `details.json`, which `edgekit report` draws."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from edgekit.analysis.graph import KernelClass
from edgekit.measurements.figure_schema import BYTES, HASH, TEXT, Digest, Finite, Record, Text, fault
from edgekit.planner.plan_schema import PlanFileSchema

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=0)]
SHAPE = "a list of sizes"


class OperatorDetails(Record):
    """An operator of the float model."""

    name: str = Field(description=TEXT)
    type: str = Field(description="the name of an operator")
    kernel: KernelClass = Field(description="a class of kernels, such as dense_conv")
    module: str = Field(description="the name of a module")
    shape: list[int] = Field(description=SHAPE)
    macs: Size = Field(description="a whole number")


class PeakTensor(Record):
    """A tensor that is alive when most memory is in use."""

    name: str = Field(description=TEXT)
    bytes: Amount = Field(description=BYTES)
    shape: list[int] = Field(description=SHAPE)
    written_by: str | None = Field(description="the name of an operator, or null")


class MemoryDetails(Record):
    """What is alive while each operator runs."""

    alive_bytes: list[Amount] = Field(description="a list of numbers of bytes")
    peak_bytes: Amount = Field(description=BYTES)
    arena_bytes: Amount = Field(description=BYTES)
    peak_operator: str = Field(description="the name of an operator")
    peak_tensors: list[PeakTensor] = Field(description="a list of tensors")


class FormatDetails(Record):
    """What the operators cost in one format."""

    runtime: Text = Field(description="tflite, onnx, executorch or coreml")
    precision: Text = Field(description="a precision's name, such as int8-static")
    precisions: list[str] = Field(description="a list of precisions")
    stored_bytes: list[Amount] = Field(description="a list of numbers of bytes")
    predicted_ms: list[Finite] | None = Field(description="a list of milliseconds, or null")
    memory: MemoryDetails = Field(description="an object about memory")


class DetailsFile(Record):
    """`details.json`: its form may change with its schema version."""

    schema_version: Literal[1] = Field(description="1, the only schema that this edgekit reads")
    device: str = Field(description="the name of a device profile")
    artifacts: list[Digest] = Field(description=f"a list of the artifacts' hashes, {HASH}")
    plans: list[PlanFileSchema] = Field(description="a list of plans")
    operators: list[OperatorDetails] = Field(description="a list of operators")
    formats: list[FormatDetails] = Field(description="a list of what the operators cost in each format")

    @model_validator(mode="after")
    def _has_a_figure_for_each_operator(self) -> Self:
        count = len(self.operators)
        for entry in self.formats:
            lists = (entry.precisions, entry.stored_bytes, entry.memory.alive_bytes, entry.predicted_ms)
            if any(one is not None and len(one) != count for one in lists):
                raise fault(f"formats {entry.runtime}: there are {count} operators, and lists of other lengths")
        return self
