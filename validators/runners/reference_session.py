"""Runs the float model itself, in the framework that it came from.

A .pt2 by torch, a Keras file or a SavedModel by TensorFlow, an .onnx and a .tflite by the session files beside this.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray


PACKAGES = "the float model's own framework"
EXTRA = "all"

SIBLINGS = {".onnx": "onnx_session", ".tflite": "tflite_session"}


class AnySession(Protocol):
    """An artifact that a session file has opened.

    Attributes:
        inputs: Inputs in the order in which `run` takes them.
        outputs: Outputs in the order in which `run` returns them.
        metadata: Text by name, as the artifact's format holds it.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    metadata: dict[str, str]

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs of one inference."""
        ...

    def operators(self) -> object:
        """Returns what ran, one entry an operator; None where the runtime does not report it."""
        ...


class AnyRuntime(Protocol):
    """What each session file has under this name.

    Attributes:
        name: Name of the runtime.
        version: Its version.
        untimed: Why its time and memory mean nothing; "" where they do.
    """

    name: str
    version: str
    untimed: str

    def open(self, path: str) -> AnySession:
        """Returns a session of the artifact at `path`."""
        ...


class Runtime:
    """The framework of the float model.

    Args:
        artifact: The float model: its suffix says which framework.
        package: Passed on.
        threads: Within one operator.

    Raises:
        ImportError: the framework is missing.
    """

    untimed = ""

    def __init__(self, artifact: str, package: str, threads: int) -> None:
        path = Path(artifact)
        suffix = path.suffix.lower()
        self._sibling: AnyRuntime | None = None
        self._torch: ModuleType | None = None
        self._tensorflow: Any = None
        if suffix in SIBLINGS:
            sibling: AnyRuntime = _load_sibling(SIBLINGS[suffix]).Runtime(artifact, package, threads)
            self._sibling = sibling
            self.name, self.version = sibling.name, sibling.version
        elif suffix == ".pt2":
            import torch

            torch.set_num_threads(threads)
            self._torch = torch
            self.name, self.version = "torch", torch.__version__
        else:
            import tensorflow as tf

            tf.config.threading.set_intra_op_parallelism_threads(threads)
            self._tensorflow = tf
            self.name, self.version = "tensorflow", tf.__version__

    def open(self, path: str) -> AnySession:
        """Returns a session of the model at `path`; what the framework raises passes through."""
        if self._sibling is not None:
            return self._sibling.open(path)
        if self._torch is not None:
            return TorchSession(self._torch, path)
        if Path(path).is_dir() and (Path(path) / "saved_model.pb").exists():
            return SavedModelSession(self._tensorflow, path)
        return KerasSession(self._tensorflow, path)


class TorchSession:
    """One exported program in torch, in eager mode without gradients.

    Args:
        torch: The module.
        path: A .pt2 file.
    """

    def __init__(self, torch: ModuleType, path: str) -> None:
        # The reference runs on the host alone, where edgekit is: its check of the file is not copied to devices.
        from edgekit.torch_program.program_archive import load_program

        self._torch = torch
        program = load_program(path)
        self._module: Any = program.module()
        signature = program.graph_signature
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        self.inputs = [
            _tensor_spec(name, values[name]) for name in signature.user_inputs if values.get(name) is not None
        ]
        self.outputs = [_tensor_spec(name, values[name]) for name in signature.user_outputs if name in values]
        self.metadata: dict[str, str] = {}

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs, nested ones flattened; reduced floats as float32, because NumPy has no bfloat16."""
        torch = self._torch
        with torch.no_grad():
            outputs = self._module(*[torch.from_numpy(array) for array in arrays])
        leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(outputs) if torch.is_tensor(leaf)]  # noqa: SLF001
        return [(leaf.float() if leaf.is_floating_point() else leaf).contiguous().numpy() for leaf in leaves]

    def operators(self) -> dict[str, dict[str, int]] | None:
        """Returns None: it is the float model."""
        return None


class KerasSession:
    """One Keras model.

    Args:
        tensorflow: The module.
        path: A .keras or .h5 file.
    """

    def __init__(self, tensorflow: ModuleType, path: str) -> None:
        # safe_mode is the default and stays: a model file must not run code of its own.
        model: Any = tensorflow.keras.models.load_model(path, compile=False)
        # As a graph: called operator by operator, one row of a small network takes a hundred times as long.
        self._call: Any = tensorflow.function(lambda inputs: model(inputs, training=False))
        self._constant: Any = tensorflow.constant
        self._flatten: Any = tensorflow.nest.flatten
        self.inputs = [_keras_spec(value) for value in model.inputs]
        self.outputs = [_keras_spec(value) for value in model.outputs]
        self.metadata: dict[str, str] = {}

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        tensors = [self._constant(array) for array in arrays]
        outputs = self._call(tensors if len(tensors) > 1 else tensors[0])
        return [output.numpy() for output in self._flatten(outputs)]

    def operators(self) -> dict[str, dict[str, int]] | None:
        """Returns None: it is the float model."""
        return None


class SavedModelSession:
    """The one serving signature of a SavedModel.

    Args:
        tensorflow: The module.
        path: The folder.
    """

    def __init__(self, tensorflow: ModuleType, path: str) -> None:
        self._loaded: Any = tensorflow.saved_model.load(path)  # kept: its signatures hold only weak references
        signatures = self._loaded.signatures
        if "serving_default" not in signatures:
            raise ValueError(f"it has no signature serving_default, only {', '.join(signatures) or 'none'}")
        self._function: Any = signatures["serving_default"]
        self._constant: Any = tensorflow.constant
        _, keywords = self._function.structured_input_signature
        outputs = self._function.structured_outputs
        # TensorFlow keeps them in sets: their order changes from one process to the next.
        self.inputs = [_signature_spec(name, keywords[name]) for name in sorted(keywords, key=_by_number)]
        self.outputs = [_signature_spec(name, outputs[name]) for name in sorted(outputs, key=_by_number)]
        self.metadata: dict[str, str] = {}

    def run(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Returns the outputs."""
        outputs = self._function(**{spec["name"]: self._constant(arrays[i]) for i, spec in enumerate(self.inputs)})
        return [outputs[spec["name"]].numpy() for spec in self.outputs]

    def operators(self) -> dict[str, dict[str, int]] | None:
        """Returns None: it is the float model."""
        return None


def _load_sibling(name: str) -> ModuleType:
    path = Path(__file__).resolve().parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path) if path.exists() else None
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _by_number(name: str) -> tuple[str, int]:
    """Returns a key that sorts output_2 before output_10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)


def _describe(name: str, shape: list[int], dtype: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": dtype, "layout": None, "scale": None, "zero_point": None}


def _tensor_spec(name: str, value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in value.shape]
    dtype = str(value.dtype).replace("torch.", "")
    return _describe(name, shape, "float32" if dtype == "bfloat16" else dtype)


def _keras_spec(value: Any) -> dict[str, Any]:
    return _describe(value.name, [-1 if size is None else int(size) for size in value.shape], str(value.dtype))


def _signature_spec(name: str, value: Any) -> dict[str, Any]:
    return _describe(name, [-1 if size is None else int(size) for size in value.shape], value.dtype.name)
