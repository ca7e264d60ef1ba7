"""A model as it travels through the pipeline: files and facts, no framework objects.

User code runs once, in a worker process (`edgekit.capture`), which leaves a captured model behind: one file that the
converters read, and this description of it. Converters never import the user's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, final

SourceKind = str
"""How a model came, a name of `registry.source_targets()`: `torch` is a factory, `pt2` a saved exported program, the
others are files as they say."""

CapturedKind = Literal["pt2", "onnx", "keras", "savedmodel", "tflite"]
"""What a captured model's file is. A torch factory is captured as `pt2`."""

IMPORTABLE: Final[CapturedKind] = "onnx"
"""The kind of file that an importer can turn into an exported torch program."""

Family = Literal["cnn", "transformer", "rnn", "mlp", "mixed", "unknown"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model or of an artifact.

    Attributes:
        name: The name by which the runtime knows it.
        shape: Sizes in one call, () for a single number; -1 where a finished file leaves a size free.
        dtype: NumPy's name: float32, float16, int8, uint8, int32, int64, bool.
        layout: NCHW, NHWC, NCL, NC and so on where it is known, else None.
        scale: Step of an integer tensor: real = scale * (stored - zero_point). None for a float tensor.
        zero_point: See `scale`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str | None = None
    scale: float | None = None
    zero_point: int | None = None

    @property
    def is_batched(self) -> bool:
        """True where a batch of one, or of a free size, is in front; one free axis alone may be a length."""
        return self.shape[:1] == (1,) or (self.shape[:1] == (-1,) and len(self.shape) > 1)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form: the same keys, shape as a list."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "layout": self.layout,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


def takes_rows(inputs: Sequence[TensorSpec]) -> bool:
    """Returns whether an item of data may hold several rows, each of them a call of the model.

    That is so where every input has a batch in front; single numbers hold for all rows. Otherwise (a state of two
    layers, a graph's nodes) an item is exactly one call.
    """
    return all(spec.is_batched or not spec.shape for spec in inputs)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedRange:
    """The range that training has found for one activation, and what that activation is known by.

    Names of tensors are lost on the way into a format, what flows through them is not: on the calibration samples, a
    tensor has the same extremes and the same mean in every format.

    Attributes:
        minimum: Least value on the calibration samples.
        maximum: Largest value.
        mean: Mean of all values.
        low: Lower end of its grid; at most 0.
        high: Upper end; at least 0.
    """

    minimum: float
    maximum: float
    mean: float
    low: float
    high: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedModel:
    """A float model on disk, ready for converters, and what is known about it.

    Attributes:
        name: Short name for files and tables.
        source: What the user wrote: `model.py:build`, `net.onnx`.
        source_kind: How it came.
        kind: What `path` is.
        path: The captured file (or SavedModel folder). `pt2`: an ExportedProgram with the shapes of `inputs`.
        inputs: In call order.
        outputs: In the order in which the model returns them.
        digest: Hash of the graph and the weights: equal digests compute the same function.
        parameters: Number of weights, tied ones counted once.
        macs: Multiply-accumulates of one call; None where it is not known.
        family: Architecture family.
        family_evidence: Why: "49 convolutions, 1 linear layer, no attention".
        embedded_default: True for the model that edgekit takes where none is given.
        metadata: Labels, preprocessing and provenance that go into the artifacts.
        learned_ranges: Learned ranges of activations, where training with rounded values has found them.
    """

    name: str
    source: str
    source_kind: SourceKind
    kind: CapturedKind
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    parameters: int
    macs: int | None
    family: Family
    family_evidence: str = ""
    embedded_default: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    learned_ranges: tuple[LearnedRange, ...] = ()

    def key_facts(self) -> dict[str, Any]:
        """Returns all that a result depends on: everything but the folder of the file, whose content `digest` tells."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "path"}
