"""A model as it travels through the pipeline: files and facts, no framework objects.

User code runs once, in a worker process (`edgekit.capture`), which leaves a captured model behind: one file that the
converters read, and this description of it. Converters never import the user's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, final

SourceKind = str
"""How a model came, a name of `registry.source_targets()`: `torch` is a factory, `pt2` a saved exported program, the
others are files as they say."""

CapturedKind = Literal["pt2", "onnx", "keras", "savedmodel", "tflite"]
"""What a captured model's file is. A torch factory is captured as `pt2`."""

IMPORTABLE: Final[frozenset[CapturedKind]] = frozenset({"onnx", "keras", "savedmodel"})
"""Kinds of files that can be turned into an exported torch program: ONNX by an importer, TensorFlow's through ONNX."""

RUN_LAYER_BY_LAYER: Final[frozenset[CapturedKind]] = frozenset({"pt2", "onnx"})
"""Kinds whose layers are those of the torch program: what TensorFlow's converters make of its models has others."""

OPEN_NAME: Final = "open.pt2"
"""File of a captured program with open sizes, beside the one with the largest."""

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
        axes: What the free sizes are called, by axis: the dimension's name, `*` for one that is no dimension's, "" for
            a fixed one. Empty where none is free, or nobody knows.
        largest: The largest shape that the free sizes allow; empty where none is free, or nobody knows.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str | None = None
    scale: float | None = None
    zero_point: int | None = None
    axes: tuple[str, ...] = ()
    largest: tuple[int, ...] = ()

    @property
    def is_batched(self) -> bool:
        """True where a batch of one, or of a free size, is in front; one free axis alone may be a length."""
        return self.shape[:1] == (1,) or (self.shape[:1] == (-1,) and len(self.shape) > 1)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form: the same keys, shape as a list; `axes` and `largest` only where sizes are free."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "layout": self.layout,
            "scale": self.scale,
            "zero_point": self.zero_point,
            **({"axes": list(self.axes)} if self.axes else {}),
            **({"largest": list(self.largest)} if self.largest else {}),
        }


def takes_rows(inputs: Sequence[TensorSpec]) -> bool:
    """Returns whether an item of data may hold several rows, each of them a call of the model.

    That is so where every input has a batch in front; single numbers hold for all rows. Otherwise (a state of two
    layers, a graph's nodes) an item is exactly one call.
    """
    return all(spec.is_batched or not spec.shape for spec in inputs)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """A size of inputs that an artifact leaves open.

    Attributes:
        name: What the inputs call it.
        min: Smallest size.
        max: Largest size: what memory and latency are judged at.
        multiple_of: Every size is a multiple of it.
        typical: The size that an app has most often.
    """

    name: str
    min: int
    max: int
    multiple_of: int
    typical: int

    @property
    def text(self) -> str:
        """The flag's value that gives this."""
        return f"{self.name}={self.min}..{self.max},multiple_of={self.multiple_of},typical={self.typical}"

    @property
    def range_text(self) -> str:
        """`height 128 to 1024 in steps of 32`."""
        steps = f" in steps of {self.multiple_of}" if self.multiple_of > 1 else ""
        return f"{self.name} {self.min} to {self.max}{steps}"

    def why_not(self, size: int) -> str:
        """Returns why an input cannot have this size, "" where it can."""
        fits = self.min <= size <= self.max and size % self.multiple_of == 0
        return "" if fits else f"{size} is not one of {self.range_text}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedOutput:
    """An output that was split into its members.

    Attributes:
        name: Name that it had.
        axis: Axis along which the members are joined.
        members: Names of the outputs that it was split into, in order.
    """

    name: str
    axis: int
    members: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSizes:
    """The sizes of a model that its artifacts leave open.

    Attributes:
        dimensions: What they are called and how far they go.
        inputs: For each input the name of the dimension on each axis, "" for a fixed one.
        outputs: The same for each output; `*` for an open size that is no dimension's, such as half the height.
    """

    dimensions: tuple[Dimension, ...]
    inputs: tuple[tuple[str, ...], ...]
    outputs: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> str:
        """`height 128 to 1024 in steps of 32, width 128 to 1024`."""
        return ", ".join(item.range_text for item in self.dimensions)

    def sizes(self) -> dict[str, dict[str, int]]:
        """Returns the sizes at which artifacts are validated: smallest, typical and largest, without repetitions."""
        found: dict[str, dict[str, int]] = {}
        for word, key in (("smallest", "min"), ("typical", "typical"), ("largest", "max")):
            sizes = {item.name: int(getattr(item, key)) for item in self.dimensions}
            if sizes not in found.values() or word == "largest":
                found = {name: kept for name, kept in found.items() if kept != sizes}
                found[word] = sizes
        return found

    def shapes_at(self, inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
        """Returns the inputs' shapes at one size of each dimension."""
        return [
            tuple(sizes.get(name, size) for name, size in zip(axes, spec.shape, strict=True))
            for axes, spec in zip(self.inputs, inputs, strict=True)
        ]


def with_free_axes(specs: Sequence[TensorSpec], axes: Sequence[Sequence[str]]) -> tuple[TensorSpec, ...]:
    """Returns the specs as those of a file that leaves sizes free: -1 where `axes` names a dimension."""
    return tuple(
        replace(
            spec,
            shape=tuple(-1 if name else size for name, size in zip(names, spec.shape, strict=True)),
            axes=tuple(names),
            largest=spec.shape,
        )
        if any(names)
        else spec
        for spec, names in zip(specs, axes, strict=True)
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A tensor that a model keeps between calls: what one call gives as an output, the next one takes as an input.

    Attributes:
        input: Name of the input that takes it.
        output: Name of the output that gives its next value.
        initial: Its value before the first call: one number for all elements, or one for each, row by row.
        buffer: The module's buffer that it is in the user's model; "" where it is an input and an output there too.
    """

    input: str
    output: str
    initial: tuple[float, ...] = (0.0,)
    buffer: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactState:
    """A state as an artifact has it.

    Attributes:
        name: The float model's input that takes it.
        input: The artifact's input that takes it, or what the artifact calls it where it keeps it itself.
        output: The artifact's output that gives its next value.
        shape: Sizes.
        dtype: NumPy's name, as in the float model.
        initial: See `State`.
        buffer: See `State`.
        held: The artifact keeps it itself from call to call: it has no such input and output.
    """

    name: str
    input: str
    output: str
    shape: tuple[int, ...]
    dtype: str
    initial: tuple[float, ...] = (0.0,)
    buffer: str = ""
    held: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**found, "shape": list(self.shape), "initial": list(self.initial)}


def boundary_json(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], states: Sequence[ArtifactState] = ()
) -> dict[str, Any]:
    """Returns what an artifact says about its inputs and outputs, and about its states where it has any."""
    described: dict[str, Any] = {
        "inputs": [spec.to_json() for spec in inputs],
        "outputs": [spec.to_json() for spec in outputs],
    }
    return {**described, "states": [state.to_json() for state in states]} if states else described


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
        states: What it keeps between calls; their inputs and outputs are among `inputs` and `outputs`.
        open_sizes: Sizes that artifacts leave open; `inputs`, `outputs` and `path` have the largest. None without any.
        float_types: Floating-point types other than float32 that it computed in before it was captured.
        joined: Outputs that were split into their members, which are among `outputs`.
        settled_branches: Branches of an ONNX file that its inputs' sizes decided: `If_0 (then_branch)`.
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
    states: tuple[State, ...] = ()
    open_sizes: OpenSizes | None = None
    float_types: tuple[str, ...] = ()
    joined: tuple[JoinedOutput, ...] = ()
    settled_branches: tuple[str, ...] = ()

    @property
    def capture_notes(self) -> tuple[str, ...]:
        """What capturing changed, in sentences: other floating-point types, branches that sizes decided."""
        notes: list[str] = []
        if self.float_types:
            notes.append(
                f"The model computes in {' and '.join(self.float_types)}. Here it is computed in float32, and so it "
                "is compared; what a format computes in is its precision's choice."
            )
        if self.settled_branches:
            notes.append(
                f"The sizes of the inputs decide {', '.join(self.settled_branches)}: the other side cannot run with "
                "them, and artifacts hold the one that can, whatever the condition says."
            )
        return tuple(notes)

    @property
    def open_path(self) -> Path:
        """The same program with its open sizes; `path` where it has none."""
        return self.path if self.open_sizes is None else self.path.with_name(OPEN_NAME)

    def artifact_boundary(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Returns the inputs and the outputs as those of an artifact: -1 for the sizes that it leaves open."""
        if self.open_sizes is None:
            return self.inputs, self.outputs
        return (
            with_free_axes(self.inputs, self.open_sizes.inputs),
            with_free_axes(self.outputs, self.open_sizes.outputs),
        )

    @property
    def data_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that data brings: all but the states', which come from the call before."""
        kept = {state.input for state in self.states}
        return tuple(spec for spec in self.inputs if spec.name not in kept)

    def artifact_states(
        self, inputs: Sequence[TensorSpec] = (), outputs: Sequence[TensorSpec] = (), *, held: bool = False
    ) -> tuple[ArtifactState, ...]:
        """Returns the states as an artifact has them.

        Args:
            inputs: The artifact's inputs in the order of the model's; empty where they have the model's names.
            outputs: The same of its outputs.
            held: The artifact keeps them itself.
        """
        specs = {spec.name: spec for spec in self.inputs}
        named = {
            **{mine.name: its.name for mine, its in zip(self.inputs, inputs, strict=False)},
            **{mine.name: its.name for mine, its in zip(self.outputs, outputs, strict=False)},
        }
        return tuple(
            ArtifactState(
                name=state.input,
                input=named.get(state.input, state.input),
                output=named.get(state.output, state.output),
                shape=specs[state.input].shape,
                dtype=specs[state.input].dtype,
                initial=state.initial,
                buffer=state.buffer,
                held=held,
            )
            for state in self.states
        )

    def key_facts(self) -> dict[str, Any]:
        """Returns all that a result depends on: everything but the folder of the file, whose content `digest` tells."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "path"}
