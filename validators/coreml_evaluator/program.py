"""A loaded ML Program: its interface, facts about what is stored, and `run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError, MissingDependencyError
from edgekit.validators.coreml_evaluator.arithmetic import describe_operators
from edgekit.validators.coreml_evaluator.features import Feature, checked_inputs
from edgekit.validators.coreml_evaluator.graph import (
    Constant,
    Function,
    NamedType,
    Operation,
    Reference,
    StoredConstant,
)
from edgekit.validators.coreml_evaluator.model_functions import chosen_function
from edgekit.validators.coreml_evaluator.number_formats import BY_NAME
from edgekit.validators.coreml_evaluator.package_file import PackageFile, read_package
from edgekit.validators.coreml_evaluator.suppression import chosen_boxes, suppressed_names

if TYPE_CHECKING:
    from edgekit.validators.coreml_evaluator.interpreter import Interpreter
    from edgekit.validators.coreml_evaluator.operators.call import StateCell, Value

Precision: TypeAlias = Literal["fp16", "fp32"]
Trace: TypeAlias = Callable[[str, NDArray[Any]], object]

COLOURS = {10: "GRAY", 20: "RGB", 30: "BGR", 40: "GRAY16"}
"""Orders of an image's channels, by ImageFeatureType.ColorSpace of FeatureTypes.proto."""

IOS_BY_SPECIFICATION = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18", 10: "iOS26"}
"""Lowest system that reads a specification version, by coremltools' deployment targets."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What the package says about itself.

    Attributes:
        short_description: The author's description.
        version: The author's version of the model.
        author: The author.
        license: The licence.
        user_defined: Free keys and values, coremltools' own (`com.github.apple.coremltools.version`) among them.
    """

    short_description: str
    version: str
    author: str
    license: str
    user_defined: Mapping[str, str]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a model with states remembers from one run to the next; starts as zeros.

    Made by `Program.new_state` and changed by `Program.run`.
    """

    cells: Mapping[str, StateCell]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns a copy of what each state holds, float32."""
        return {name: cell.value.numpy().copy() for name, cell in self.cells.items()}


@final
class Program:
    """One function of an ML Program, ready to run. Made by `load`."""

    def __init__(
        self,
        *,
        package: PackageFile,
        function: Function,
        interpreter: Interpreter,
        precision: Precision,
        threads: int | None,
    ) -> None:
        self._package = package
        self._function = function
        self._interpreter = interpreter
        self._precision: Precision = precision
        self._threads = threads
        self._described = _described(package.spec, function.name)
        defaults = {item.name: _default(item.type) for item in self._described.input}
        colours = {item.name: colour_of(item.type) for item in self._described.input}
        self.inputs: tuple[Feature, ...] = tuple(
            _input_feature(item, colours.get(item.name, ""), defaults.get(item.name))
            for item in function.inputs
            if item.type.kind != "state"
        )
        """Inputs in the function's order."""
        self.states: tuple[Feature, ...] = tuple(
            Feature(name=item.name, shape=item.type.shape or (), dtype=item.type.dtype, kind="state")
            for item in function.inputs
            if item.type.kind == "state"
        )
        """States, empty for most models."""
        every = tuple(self._output_features())
        read = suppressed_names(package.suppression)
        self.outputs: tuple[Feature, ...] = tuple(item for item in every if item.name not in read) or every
        """Outputs in the function's order, without those that only a suppression behind it reads."""

    @property
    def path(self) -> Path:
        """The package."""
        return self._package.path

    @property
    def precision(self) -> Precision:
        """`fp16` where fp16-typed results are rounded, `fp32` where not."""
        return self._precision

    @property
    def specification_version(self) -> int:
        """Core ML's specification version (6 for iOS 15)."""
        return int(self._package.spec.specificationVersion)

    @property
    def deployment_target(self) -> str:
        """The lowest system that runs the package, as coremltools names it (`iOS17`)."""
        version = self.specification_version
        return IOS_BY_SPECIFICATION.get(version, f"specification {version}")

    @property
    def metadata(self) -> Metadata:
        """What the package says about itself."""
        stored = self._package.description.metadata
        return Metadata(
            short_description=stored.shortDescription,
            version=stored.versionString,
            author=stored.author,
            license=stored.license,
            user_defined=dict(stored.userDefined),
        )

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operators in the order in which they run; nested blocks are inside theirs."""
        return self._function.block.operations

    @property
    def constants(self) -> Mapping[str, Constant]:
        """Values of all constants by name, decompressed."""
        return self._function.constants

    @property
    def operator_counts(self) -> dict[str, int]:
        """How often each operator occurs, constants excepted, most frequent first."""
        return dict(Counter(self._function.block.operator_types()).most_common())

    @property
    def described_operators(self) -> list[dict[str, Any]]:
        """What each operator computes with (see `arithmetic.describe_operators`)."""
        return describe_operators(self._function)

    @property
    def stored_constants(self) -> tuple[StoredConstant, ...]:
        """How each constant of numbers is stored: which precision is really in the file."""
        return self._function.stored_constants

    @property
    def class_labels(self) -> tuple[str, ...]:
        """Labels of a classifier in the order of its probabilities, empty for any other model."""
        for operation in self.operations:
            if operation.type == "classify":
                given = operation.inputs["classes"][0]
                classes = self.constants.get(given.name, ()) if isinstance(given, Reference) else given
                return tuple(str(label) for label in classes) if isinstance(classes, tuple) else ()
        return ()

    @property
    def random_operators(self) -> tuple[str, ...]:
        """Random operators in the program: their values here are not those of a device."""
        from edgekit.validators.coreml_evaluator.operators.table import RANDOM

        return tuple(sorted(RANDOM.intersection(self._function.block.operator_types())))

    def new_state(self) -> State:
        """Returns states of zeros, to be handed to one run after the other."""
        import torch

        from edgekit.validators.coreml_evaluator.operators.call import StateCell
        from edgekit.validators.coreml_evaluator.operators.tensor_types import torch_dtype

        cells: dict[str, StateCell] = {}
        for state in self.states:
            sizes = [1 if size is None else size for size in state.shape]
            cells[state.name] = StateCell(name=state.name, value=torch.zeros(sizes, dtype=torch_dtype(state.dtype)))
        return State(cells=cells)

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        state: State | None = None,
        trace: Trace | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Returns the model's outputs by name.

        Args:
            inputs: One array for each input, in its shape. An image input is an array too: the pixels as the
                model's first operator gets them, `(1, C, H, W)`.
            state: What the model remembers; changed by the run. Zeros where it is not given.
            trace: Called with the name and value of every intermediate result as it is computed, fp16 ones as
                float32; `trace=values.__setitem__` collects them in a dict.

        Returns:
            Arrays in the declared element type; with `precision="fp32"`, float32 in place of float16. A classifier
            gives its label as an array of one element, and its probabilities in the order of the class labels.

        Raises:
            DataError: An input is missing, unknown, or of another shape or kind than declared.
            ArtifactError: An operator cannot be computed on these inputs.
        """
        results = self._results(inputs, state, trace)
        return {feature.name: self._to_array(results[feature.name], feature) for feature in self.outputs}

    def detect(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Returns what a suppression behind the program leaves: confidence (n, classes) and coordinates (n, 4).

        Raises:
            DataError: See `run`.
            ArtifactError: See `run`; or no suppression stands behind the program.
        """
        suppression = self._package.suppression
        if suppression is None:
            raise ArtifactError(f"{self.path}: no suppression stands behind this model. Take its outputs from a run.")
        results = self._results(inputs, None, None)
        confidence, coordinates = (results[name].numpy() for name in suppressed_names(suppression))
        kept = chosen_boxes(suppression, confidence, coordinates)
        names = (suppression.confidenceOutputFeatureName, suppression.coordinatesOutputFeatureName)
        return dict(zip(names, (confidence[kept], coordinates[kept]), strict=True))

    def _results(
        self, inputs: Mapping[str, NDArray[Any]], state: State | None, trace: Trace | None
    ) -> Mapping[str, Any]:
        import torch

        from edgekit.validators.coreml_evaluator.interpreter import to_value

        checked = checked_inputs(self.inputs, inputs)
        tensors = {name: value for name, array in checked.items() if isinstance(value := to_value(array), torch.Tensor)}
        cells = (state or self.new_state()).cells
        with _torch_threads(self._threads):
            return self._interpreter.run(tensors, cells, trace)

    def _to_array(self, value: Value, feature: Feature) -> NDArray[Any]:
        import torch

        if isinstance(value, torch.Tensor):
            name = BY_NAME[feature.dtype].numpy_name if feature.dtype in BY_NAME else "float32"
            if name == "float16" and self._precision == "fp32":
                name = "float32"
            return np.array(value.numpy(), np.dtype(name), order="C")
        if isinstance(value, tuple):  # a class label
            return np.array(value)
        raise ArtifactError(
            f'Output "{feature.name}" is a {type(value).__name__}, which Core ML cannot return. '
            "Expected a tensor or a class label: end the model with a tensor (gather a list's elements)."
        )

    def _output_features(self) -> Iterator[Feature]:
        types = {item.name: item.type for item in self._function.inputs}
        for operation in self._function.block.operations:
            types.update({output.name: output.type for output in operation.outputs})
        label = self._described.predictedFeatureName if hasattr(self._described, "predictedFeatureName") else ""
        for name in self._function.block.outputs:
            declared = types.get(name)
            if declared is None:
                constant = np.asarray(self._function.constants.get(name, np.zeros(())))
                yield Feature(name=name, shape=constant.shape, dtype=_format_name(constant))
            elif declared.kind == "dictionary":
                yield Feature(name=name, shape=(None,), dtype="fp32", kind="probabilities")
            else:
                kind = "label" if label and name == label else "tensor"
                yield Feature(name=name, shape=declared.shape or (), dtype=declared.dtype, kind=kind)


def load(
    path: str | Path, *, precision: Precision = "fp16", threads: int | None = None, function: str | None = None
) -> Program:
    """Returns a saved ML Program or neural network, ready to run.

    Args:
        path: The `.mlpackage` folder, or a `.mlmodel` file.
        precision: `fp16` rounds every fp16-typed result to fp16, as a device stores it; `fp32` rounds nothing.
        threads: Threads that torch may use for this program, None for torch's own setting.
        function: Which function of a package with several; None for its default one.

    Raises:
        ArtifactError: The package is broken, of another type, or uses operators that the evaluator lacks (all of
            them are named).
        MissingDependencyError: coremltools or torch is not installed.
    """
    package = read_package(Path(path))
    try:
        chosen = chosen_function(package, function)
        from edgekit.validators.coreml_evaluator.interpreter import Interpreter
        from edgekit.validators.coreml_evaluator.operators.table import lacking
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError(
            "torch is not installed; the Core ML evaluator computes with it. "
            "Install the extra: pip install -e '.[coreml]'"
        ) from error
    missing = lacking(chosen)
    if missing:
        raise ArtifactError(
            f"{package.path}: the Core ML evaluator lacks {', '.join(missing)}. It runs the operators of the iOS 15 to "
            "iOS 18 opsets; validate this package on a Mac, or replace what the model uses there."
        )
    # Neural networks type nothing: the CPU computes them in 32 bits, and accelerators in 16.
    typed = package.spec.WhichOneof("Type") == "mlProgram"
    interpreter = Interpreter(chosen, round_fp16=typed and precision == "fp16")
    return Program(package=package, function=chosen, interpreter=interpreter, precision=precision, threads=threads)


def _described(spec: Any, function: str) -> Any:
    """Returns the description of a function's interface; packages with one function have it at the top."""
    for item in spec.description.functions:
        if item.name == function:
            return item
    return spec.description


def colour_of(feature_type: Any) -> str:
    """Returns the order of an image's channels (see `Feature.colour`) by its FeatureType, "" for what is no image."""
    if feature_type.WhichOneof("Type") != "imageType":
        return ""
    return COLOURS.get(int(feature_type.imageType.colorSpace), "RGB")


def _input_feature(item: NamedType, colour: str, default: float | None) -> Feature:
    return Feature(
        name=item.name,
        shape=item.type.shape or (),
        dtype=item.type.dtype,
        kind="image" if colour else "tensor",
        default=default,
        colour=colour,
    )


def _default(feature_type: Any) -> float | None:
    """Returns what fills an optional input, None for a required one."""
    if not feature_type.isOptional:
        return None
    array = feature_type.multiArrayType
    chosen = array.WhichOneof("defaultOptionalValue")
    return float(getattr(array, chosen)) if chosen else 0.0


def _format_name(array: NDArray[Any]) -> str:
    matches = [key for key, item in BY_NAME.items() if item.numpy_name == array.dtype.name and not item.is_sub_byte]
    return matches[0] if matches else "string"


@contextmanager
def _torch_threads(threads: int | None) -> Generator[None]:
    """Sets torch's thread count for a while; it is a setting of the whole process."""
    import torch

    if threads is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
