"""Runs Core ML packages: on macOS by Apple's runtime, elsewhere by edgekit's evaluator of the saved package.

The evaluator proves the file (conversion and storage), not the device, and its time and memory are not a phone's.

An image input takes the pixels that an app has: 8 bits, RGB, (1, C, H, W); where the model wants BGR they are turned
round, as Core ML does it. A classifier's probabilities come first, in the order of its labels, which become metadata;
its label follows as the place of the most probable one in them. Of a detector with Core ML's suppression behind it the
detector alone is run: its own outputs are what the float model gives too.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import platform
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES = "coremltools"
EXTRA = "coreml"

EVALUATOR = "Core ML evaluator, not Apple's runtime"

LABELS_KEY = "labels"
"""Metadata entry with one label a line, as edgekit's converters write it."""

PREPROCESSING_KEY = "edgekit.preprocessing"
"""Metadata entry that says how pictures become the input, as edgekit's converters write it."""


class Runtime:
    """Apple's runtime on macOS, else the evaluator.

    Args:
        artifact: Not used; all sessions take the same arguments.
        package: `evaluator` to use the evaluator on macOS too; "" for the machine's best.
        threads: Threads of the evaluator's arithmetic; Apple's runtime chooses its own.

    Raises:
        ImportError: coremltools is missing.
    """

    def __init__(self, artifact: str, package: str, threads: int) -> None:  # noqa: ARG002  one signature for all
        self._apple = platform.system() == "Darwin" and package != "evaluator"
        if self._apple:
            import coremltools

            self._library: ModuleType = coremltools
            self.name, self.version = "Core ML on macOS, coremltools", importlib.metadata.version("coremltools")
            self.untimed = ""
            return
        import torch

        from edgekit.validators import coreml_evaluator

        torch.set_num_threads(threads)
        _keep_freed_memory()
        self._library = coreml_evaluator
        self.name, self.version = EVALUATOR, ""
        self.untimed = (
            f"{EVALUATOR}: it proves the file, and its time and memory say nothing about a device. "
            "Measure on macOS or iOS."
        )

    def open(self, path: str, signature: str = "") -> Session:
        """Returns a session of the package at `path`; what the runtime raises passes through."""
        if self._apple:
            return _AppleSession(self._library, path, signature)
        return Session(self._library.load(path, function=signature or None))

    def signatures(self, path: str) -> dict[str, str]:
        """Returns the names of a package's functions."""
        from edgekit.validators import coreml_evaluator

        return dict.fromkeys(coreml_evaluator.function_names(path), "")


class Session:
    """One program in the evaluator.

    Args:
        program: From `coreml_evaluator.load`.
    """

    def __init__(self, program: Any) -> None:
        self._program = program
        self._state: Any = program.new_state()
        self._labels: tuple[str, ...] = program.class_labels
        self._colours = {value.name: value.colour for value in program.inputs if value.colour}
        self.inputs = [
            _pixels(value.name, value.shape)
            if _is_eight_bit(value.colour)
            else _spec(value.name, value.shape, value.dtype)
            for value in program.inputs
        ]
        self._outputs = sorted(program.outputs, key=lambda value: value.kind == "label")
        self.outputs = [self._output_spec(value) for value in self._outputs]
        self.metadata = _described(program.metadata.user_defined, self._labels, self._colours)

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        given = {spec["name"]: self._fed(spec["name"], arrays[i]) for i, spec in enumerate(self.inputs)}
        results = self._program.run(given, state=self._state)
        return [self._read(value, results[value.name]) for value in self._outputs]

    def reset(self) -> None:
        """Makes a new state: zeros."""
        self._state = self._program.new_state()

    def read_states(self) -> dict[str, NDArray[Any]]:
        """Returns copies of what the states hold, by name."""
        return dict(self._state.arrays())

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the package's program holds, one entry an operator."""
        described: list[dict[str, Any]] = self._program.described_operators
        return described

    def _fed(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        colour = self._colours.get(name, "")
        return _in_order(array, colour).astype(np.float32) if _is_eight_bit(colour) else array

    def _output_spec(self, value: Any) -> dict[str, Any]:
        if value.kind == "label":
            return _spec(value.name, (1,), "int64")
        if value.kind == "probabilities":
            return _spec(value.name, (1, len(self._labels)), value.dtype)
        return _spec(value.name, value.shape, value.dtype)

    def _read(self, value: Any, result: NDArray[Any]) -> NDArray[Any]:
        if value.kind == "label":
            return np.array([self._labels.index(str(result.reshape(-1)[0]))])
        return result.reshape(1, -1) if value.kind == "probabilities" else result


class _AppleSession(Session):
    """One model in Apple's runtime."""

    def __init__(self, library: ModuleType, path: str, function: str) -> None:
        from edgekit.validators.coreml_evaluator import colour_of, load, read_package, suppressed_names

        self._path, self._function = path, function or None
        package = read_package(Path(path))
        self._model: Any = (
            library.models.MLModel(path, function_name=function or None)
            if package.suppression is None
            else library.models.MLModel(package.spec, weights_dir=str(package.weights_folder / "weights"))
        )
        whole = package.spec.description
        description = next((item for item in whole.functions if item.name == function), whole)
        self._label_name: str = description.predictedFeatureName
        self._labels = load(path, function=function or None).class_labels if self._label_name else ()
        self._colours = {value.name: colour for value in description.input if (colour := colour_of(value.type))}
        self.inputs = [_apple_spec(value, self._colours.get(value.name, "")) for value in description.input]
        every = [value.name for value in description.output]
        read = suppressed_names(package.suppression)
        names = [name for name in every if name not in read] or every
        names.sort(key=lambda name: name == self._label_name)
        self._described = {value.name: value for value in description.output}
        self.outputs = [self._apple_output(name) for name in names]
        self.metadata = _described(package.description.metadata.userDefined, self._labels, self._colours)
        self._state_names = [value.name for value in description.state]
        self._state = self._model.make_state() if self._state_names else None

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        given = {spec["name"]: self._picture(spec["name"], arrays[i]) for i, spec in enumerate(self.inputs)}
        results = self._model.predict(given, state=self._state)
        return [self._apple_result(results[spec["name"]]) for spec in self.outputs]

    def reset(self) -> None:
        """Makes a new state: zeros."""
        self._state = self._model.make_state()

    def read_states(self) -> dict[str, NDArray[Any]]:
        """Returns copies of what the states hold, by name."""
        return {name: np.asarray(self._state.read_state(name), np.float32) for name in self._state_names}

    def operators(self) -> list[dict[str, Any]] | None:
        """Returns what the package's program holds, one entry an operator: Apple's runtime itself does not tell."""
        from edgekit.validators import coreml_evaluator

        described: list[dict[str, Any]] = coreml_evaluator.describe_package(Path(self._path), self._function)
        return described

    def _picture(self, name: str, array: NDArray[Any]) -> Any:
        """Returns an array, or the picture that Apple's runtime takes for an image input; it orders channels itself."""
        if not _is_eight_bit(self._colours.get(name, "")):
            return array
        from PIL import Image

        pixels = array[0].transpose(1, 2, 0)
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)

    def _apple_output(self, name: str) -> dict[str, Any]:
        if name == self._label_name:
            return _spec(name, (1,), "int64")
        if self._described[name].type.WhichOneof("Type") == "dictionaryType":
            return _spec(name, (1, len(self._labels)), "float32")
        return _apple_spec(self._described[name], "")

    def _apple_result(self, result: Any) -> NDArray[Any]:
        if isinstance(result, dict):
            return np.array(
                [[result.get(label, result.get(_number(label), 0.0)) for label in self._labels]], np.float32
            )
        if self._labels and str(result) in self._labels:
            return np.array([self._labels.index(str(result))])
        return np.asarray(result)


def _keep_freed_memory() -> None:
    """Lets the C library keep what is freed, where it is glibc: intermediate results are as large in each run.

    Given back and taken again, each page costs a fault: a fifth of the evaluator's time.
    """
    trim_threshold, mmap_threshold, bytes_kept = -1, -3, 1 << 30
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, bytes_kept)
    mallopt(trim_threshold, bytes_kept)


def _number(label: str) -> object:
    """Returns a label as the integer that it spells: classifiers may have integers as labels."""
    return int(label) if label.lstrip("-").isdigit() else label


def _is_eight_bit(colour: str) -> bool:
    return colour in ("RGB", "BGR", "GRAY")


def _in_order(array: NDArray[Any], colour: str) -> NDArray[Any]:
    """Returns RGB pixels (1, 3, H, W) in the order that the model's first operator gets them in."""
    return array[:, ::-1] if colour == "BGR" else array


def _described(metadata: Any, labels: tuple[str, ...], colours: dict[str, str]) -> dict[str, str]:
    """Returns a package's own metadata, and what its interface says of labels and pictures."""
    found: dict[str, str] = dict(metadata)
    if labels:
        found.setdefault(LABELS_KEY, "\n".join(labels))
    if any(_is_eight_bit(colour) for colour in colours.values()):
        steps = {"resize": None, "mean": [0.0], "std": [1.0], "color": "rgb"}
        found.setdefault(PREPROCESSING_KEY, json.dumps(steps))
    return found


def _apple_spec(value: Any, colour: str) -> dict[str, Any]:
    if colour:
        image = value.type.imageType
        channels = 3 if colour in ("RGB", "BGR") else 1
        sizes = (1, channels, image.height, image.width)
        return _pixels(value.name, sizes) if _is_eight_bit(colour) else _spec(value.name, sizes, "float16")
    array = value.type.multiArrayType
    # ArrayFeatureType.ArrayDataType in coremltools' FeatureTypes.proto
    dtypes = {65568: "float32", 65600: "float64", 65552: "float16", 131104: "int32", 131080: "int8"}
    return _spec(value.name, array.shape, dtypes[array.dataType])


def _pixels(name: str, shape: Any) -> dict[str, Any]:
    """Returns the description of an image input: whole numbers from 0 to 255, whatever the program makes of them."""
    return {**_spec(name, shape, "uint8"), "layout": "NCHW", "scale": 1.0, "zero_point": 0}


def _spec(name: str, shape: Any, dtype: Any) -> dict[str, Any]:
    dtype = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}.get(dtype, dtype)  # MIL's spelling
    return {
        "name": name,
        "shape": [-1 if size is None else int(size) for size in shape],
        "dtype": np.dtype(dtype).name,
        "layout": None,
        "scale": None,
        "zero_point": None,
    }
