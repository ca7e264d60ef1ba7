"""The source `.keras` or `.h5`: a Keras model, of Keras 2 or 3. Runs TensorFlow, in a worker."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, final

from edgekit.errors import ModelError
from edgekit.formats.table import find_format
from edgekit.model import CapturedKind, SourceKind, TensorSpec
from edgekit.sources.base import CaptureRequest, Signature, Source
from edgekit.sources.example_inputs import fixed_shapes
from edgekit.sources.keras_2_file import in_words_of_keras_3
from edgekit.sources.keras_architecture import carried_code
from edgekit.sources.tf_protocols import TFTensor
from edgekit.task.input_sizes import OpenInput
from edgekit.torch_program.architecture import Operation, judge
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.layout import guess_layout
from edgekit.workers.cpu_limit import cpu_limit
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    import keras

_DAMAGED: Final = (
    "It is damaged, or holds weights without an architecture. Save the whole model: model.save('net.keras')."
)
_READING_S: Final = 15.0
_READING_S_A_MB: Final = 0.5
"""Processor time after which a file is held to be damaged: libhdf5 follows some broken links round and round. A sound
file of 100 MB takes about two seconds here."""


def why_not_from_tensorflow(kind: CapturedKind, target: str) -> str | None:
    """Returns why a format takes no TensorFlow models, or None if it takes them, as they are or through torch."""
    found = find_format(target)
    if found.kind_from(kind) in found.starts_from:
        return None
    return found.why_not_started.get(kind, f"{found.title} takes no {kind} file")


@final
class KerasFileSource(Source):
    """Loads the model in safe mode; keeps it as a `.keras` file."""

    kind: ClassVar[SourceKind] = "keras"
    suffixes: ClassVar[tuple[str, ...]] = (".keras", ".h5", ".hdf5")
    starts_with: ClassVar[Mapping[str, Signature]] = {
        ".keras": (0, b"PK\x03\x04", "a zip archive that model.save wrote"),
        ".h5": (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ".hdf5": (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    }
    extra: ClassVar[str] = "tensorflow"
    needs: ClassVar[Mapping[str, str]] = {"tensorflow": "tensorflow-cpu"}

    def why_not(self, target: str) -> str | None:
        """Formats that start from TensorFlow models."""
        return why_not_from_tensorflow("keras", target)

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """A `.keras` file is copied as it is; an `.h5` file is written again as `.keras`."""
        progress("reading the model", None)
        model = load(request.path, request.source, folder)
        shapes = fixed_shapes(open_inputs(model), request)
        progress("counting its operations", None)
        if request.path.suffix.lower() == ".keras":
            shutil.copyfile(request.path, folder / "model.keras")
        else:
            model.save(folder / "model.keras")
        return _describe(model, shapes)


def load(path: Path, title: str, scratch: Path) -> keras.Model:
    """Returns the Keras model in a file. No code from the file runs: what carries some is refused, safe mode stays on.

    Args:
        path: A file of Keras 3 (.keras) or of Keras 2 or 3 (.h5).
        title: What the user wrote, for messages.
        scratch: Folder for a file that is read and removed again.

    Raises:
        ModelError: the file is damaged, or holds code or classes of its own, or a model that was never built.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    translated = scratch / "keras_3.h5"
    endless = ModelError(f"{title} cannot be read as a Keras model: reading it comes to no end. {_DAMAGED}")
    try:
        with cpu_limit(_READING_S + _READING_S_A_MB * path.stat().st_size / 1e6, endless):
            code = carried_code(path)
            read = path if path.suffix.lower() == ".keras" else in_words_of_keras_3(path, translated)
            model = None if code else keras.models.load_model(read, compile=False, safe_mode=True)
    except Exception as error:
        raise ModelError(_why_not_loaded(error, title)) from error
    finally:
        translated.unlink(missing_ok=True)
    if code:
        raise ModelError(_carries(title, code))
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise ModelError(
            f"{title}: the model does not say its input shape: it was never built, or it is a subclass of keras.Model. "
            "Export it with its shapes, model.export('folder'), and give that SavedModel folder."
        )
    return cast("keras.Model", model)


def _carries(title: str, code: str) -> str:
    return (
        f"{title} holds {code}; edgekit runs no code from a file. Replace it by a layer or keras.ops, or export the "
        "model where its code is, model.export('folder'), and give that SavedModel folder."
    )


def _why_not_loaded(error: Exception, title: str) -> str:
    text = str(error)
    if "Lambda" in text or "unsafe" in text or "safe_mode" in text:
        return _carries(title, "code of its own")
    custom = re.search(r"Could not locate (?:class|function) '([^']+)'|Unknown (?:layer|object)[^']*'([^']+)'", text)
    if custom:
        return (
            f"{title} holds the custom class {custom[1] or custom[2]}, whose code is not in the file. Export the "
            "model where its code is, model.export('folder'), and give that SavedModel folder."
        )
    unknown = re.search(r"Unrecognized keyword arguments? passed to (\w+): (\{[^}]*\})", text)
    if unknown:
        return (
            f"{title} sets {unknown[2]} in a layer {unknown[1]}, which Keras 3 does not know: Keras 2 wrote the file. "
            "Load it with Keras 2 (pip install tf-keras) where it was made, export it with "
            "tf.saved_model.save(model, 'folder'), and give that SavedModel folder."
        )
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{title} cannot be read as a Keras model: {first}\n{_DAMAGED}"


def _names(tensors: Sequence[TFTensor]) -> list[str]:
    return [str(tensor.name) for tensor in tensors]


def open_inputs(model: keras.Model) -> list[OpenInput]:
    """Returns what a Keras model says about its inputs."""
    # Keras puts the batch in front of everything.
    return [
        OpenInput(name=name, shape=tuple(tensor.shape), dtype=tensor.dtype, batch_axes=frozenset({0}))
        for name, tensor in zip(_names(model.inputs), model.inputs, strict=True)
    ]


def _describe(model: keras.Model, shapes: Sequence[tuple[int, ...]]) -> Capture:
    import tensorflow as tf

    from edgekit.sources import tf_graph

    specs = [
        tf.TensorSpec(shape, tensor.dtype, name=f"input_{i}")
        for i, (shape, tensor) in enumerate(zip(shapes, model.inputs, strict=True))
    ]

    def call(*tensors: TFTensor) -> Any:
        given: list[TFTensor] = list(tensors)
        return model(given if len(given) > 1 else given[0], training=False)

    frozen = tf_graph.freeze(tf.function(call).get_concrete_function(*specs))
    names = _names(model.inputs)
    inputs = [_spec(name, shape, t.dtype) for name, shape, t in zip(names, shapes, model.inputs, strict=True)]
    found = zip(_output_names(model), frozen.outputs, strict=True)
    outputs = [_spec(name, tuple(tensor.shape), tensor.dtype.name) for name, tensor in found]
    recurrent = list(_recurrent(model, {}))
    operations = [o for o in tf_graph.operations(frozen) if o.role != "recurrent" or not recurrent]
    unique = {id(weight): math_size(weight.shape) for weight in model.weights}
    return Capture(
        kind="keras",
        file="model.keras",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        digest=tf_graph.digest(frozen, names, _output_names(model)),
        parameters=sum(unique.values()),
        architecture=judge([*operations, *recurrent]),
    )


def math_size(shape: Iterable[Any]) -> int:
    """Returns the number of elements of a shape."""
    import math

    return math.prod(int(size) for size in shape)


def _output_names(model: keras.Model) -> list[str]:
    names = list(getattr(model, "output_names", []))
    return names if len(names) == len(model.outputs) else _names(model.outputs)


def _spec(name: str, shape: tuple[int | None, ...], dtype: str) -> TensorSpec:
    fixed = tuple(int(size or 1) for size in shape)
    return TensorSpec(name=name, shape=fixed, dtype=str(dtype), layout=guess_layout(fixed, str(dtype), "NHWC"))


def _steps(layer: Any) -> int | None:
    """Returns over how many steps a recurrent layer runs; None where that is open, or the layer is called twice."""
    given = getattr(layer, "input", None)  # with a mask or states to begin with it is a list
    first = given[0] if isinstance(given, list | tuple) and given else given
    shape: tuple[int | None, ...] = tuple(getattr(first, "shape", ()))
    return shape[1] if len(shape) > 1 else None


def _recurrent(model: keras.Model, seen: dict[int, bool]) -> Iterator[Operation]:
    """Yields one operation for each recurrent layer: in the graph it is a loop whose length is not known."""
    for layer in getattr(model, "layers", []):
        if id(layer) in seen:
            continue
        seen[id(layer)] = True
        if type(layer).__name__ in ("LSTM", "GRU", "SimpleRNN", "Bidirectional"):
            steps = _steps(layer)
            matrices = sum(math_size(weight.shape) for weight in layer.weights if len(weight.shape) == 2)
            # A GRU's bias is a matrix too when reset_after is on: (2, 3 units).
            matrices -= sum(math_size(w.shape) for w in layer.weights if len(w.shape) == 2 and w.name == "bias")
            yield Operation(role="recurrent", macs=None if steps is None else steps * matrices)
        else:
            yield from _recurrent(layer, seen)
