"""The source SavedModel folder: a TensorFlow graph with signatures. Runs TensorFlow, in a worker."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.errors import ModelError
from edgekit.model import SourceKind, TensorSpec
from edgekit.plain_text import first_line
from edgekit.sources.base import CaptureRequest, Source
from edgekit.sources.example_inputs import fixed_shapes
from edgekit.sources.keras_file import math_size, why_not_from_tensorflow
from edgekit.sources.tf_protocols import TFFunction, TFShape, TFTensor
from edgekit.task.input_sizes import with_batch_axes
from edgekit.torch_program.architecture import judge
from edgekit.torch_program.facts import Capture
from edgekit.torch_program.layout import guess_layout
from edgekit.workers.worker import Progress

_UNSAFE: Final = re.compile(
    r"PyFunc|File|Dataset|Summary|Record|^Print|^Debug|Sql|Rpc|Snapshot|Reader|Socket|^Collective|^XlaHost"
)
"""Operators that reach outside the graph: files, Python, the terminal, the network. A SavedModel is a program."""

_SAFE: Final = frozenset({"ShardedFilename"})
"""What looks like one and reaches nothing outside: it puts a name together."""

_CHECKPOINT: Final = re.compile(r"^(Save|Restore|MergeV2Checkpoints)")
"""Operators of the checkpoint's own functions, which edgekit never runs; no signature has a use for them."""

_DEFAULT: Final = "serving_default"


@final
class SavedModelSource(Source):
    """Loads the serving signature; keeps the folder as it is."""

    kind: ClassVar[SourceKind] = "savedmodel"
    extra: ClassVar[str] = "tensorflow"
    needs: ClassVar[Mapping[str, str]] = {"tensorflow": "tensorflow-cpu"}

    def why_not(self, target: str) -> str | None:
        """Formats that start from TensorFlow models."""
        return why_not_from_tensorflow("savedmodel", target)

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """The folder is copied."""
        progress("reading the model", None)
        check_operators(request.path, request.source)
        loaded, function = load(request.path, request.source)
        progress("counting its operations", None)
        found = describe_function(loaded, function, request)
        shutil.copytree(request.path, folder / "model")
        return found


def check_operators(path: Path, title: str) -> None:
    """Checks that the graph holds no operator that reaches outside it.

    Raises:
        ModelError: it does, or `saved_model.pb` is damaged.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel  # pyright: ignore[reportAttributeAccessIssue]  # generated

    message = SavedModel()
    try:
        message.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise ModelError(
            f"{title}: saved_model.pb is damaged: it is no SavedModel message. Copy or export the model again."
        ) from error
    if not message.meta_graphs:
        raise ModelError(f"{title}: saved_model.pb holds no graph. Copy or export the model again.")
    checkpoint = {op for op in _run_by_signatures(message) if _CHECKPOINT.match(op)}
    if unsafe := checkpoint | unsafe_operators(_operators(message)):
        raise ModelError(unsafe_message(title, unsafe))


def unsafe_operators(operators: Iterable[str]) -> set[str]:
    """Returns those that reach outside of the graph."""
    return {op for op in operators if _UNSAFE.search(op)} - _SAFE


def unsafe_message(title: str, operators: Iterable[str]) -> str:
    """Returns why a graph with such operators is refused."""
    return (
        f"{title} holds {', '.join(sorted(operators))}, which reach files, Python or the terminal when the model runs; "
        "no on-device format can hold them and edgekit does not run them. Export the model without."
    )


def _operators(message: Any) -> Iterator[str]:
    for graph in message.meta_graphs:
        yield from (node.op for node in graph.graph_def.node)
        for function in graph.graph_def.library.function:
            yield from (node.op for node in function.node_def)


def _run_by_signatures(message: Any) -> Iterator[str]:
    """Yields the operators that a signature runs, in functions that it calls too: all but those for checkpoints."""
    for graph in message.meta_graphs:
        nodes = {node.name: node for node in graph.graph_def.node}
        functions = {function.signature.name: function for function in graph.graph_def.library.function}
        outputs = [out.name for signature in graph.signature_def.values() for out in signature.outputs.values()]
        reached: set[str] = set()
        waiting = list(map(_node_of, outputs))
        while waiting:
            name = waiting.pop()
            if name in reached or name not in nodes:
                continue
            reached.add(name)
            waiting.extend(map(_node_of, nodes[name].input))
        yield from _with_functions((nodes[name] for name in reached), functions)


def _with_functions(nodes: Iterable[Any], functions: Mapping[str, Any]) -> Iterator[str]:
    """Yields the operators of nodes and of all functions that they call."""
    waiting, called = list(nodes), set[str]()
    while waiting:
        node = waiting.pop()
        yield node.op
        for value in node.attr.values():
            for name in (value.func.name, *(function.name for function in value.list.func)):
                if name in functions and name not in called:
                    called.add(name)
                    waiting.extend(functions[name].node_def)


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def load(path: Path, title: str) -> tuple[object, TFFunction]:
    """Returns the loaded object, which must stay alive, and the concrete function of its signature.

    Raises:
        ModelError: it cannot be loaded, or it is not clear which signature is meant.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        raise ModelError(
            f"{title} cannot be loaded as a SavedModel: {first_line(error)}\nA file of it is missing or damaged. "
            "Export the model again."
        ) from error
    signatures = dict(loaded.signatures)
    if _DEFAULT in signatures:
        return loaded, signatures[_DEFAULT]
    if len(signatures) == 1:
        return loaded, next(iter(signatures.values()))
    names = ", ".join(sorted(signatures)) or "none"
    raise ModelError(
        f"{title}: the SavedModel has no signature {_DEFAULT} (its signatures: {names}). "
        "Export it with model.export('folder'), or with tf.saved_model.save(model, folder, signatures=function)."
    )


def _sizes(shape: TFShape) -> tuple[int | str, ...] | None:
    return None if shape.rank is None else tuple("" if size is None else int(size) for size in shape)


def describe_function(loaded: object, function: Any, request: CaptureRequest) -> Capture:
    """Returns the facts of a signature, which lies or will lie in `model` of the captured folder.

    Raises:
        ModelError: a size is free and nothing gives it.
    """
    import tensorflow as tf

    from edgekit.sources import tf_graph

    specs: dict[str, Any] = function.structured_input_signature[1]
    order = function._arg_keywords  # noqa: SLF001  the only place that knows the order
    names = [name for name in order if name in specs]
    wanted = with_batch_axes(
        {name: _sizes(specs[name].shape) for name in names}, [specs[name].dtype.name for name in names]
    )
    shapes = fixed_shapes(wanted, request)
    keys = sorted(function.structured_outputs)

    def call(*tensors: TFTensor) -> list[TFTensor]:
        found = function(**dict(zip(names, tensors, strict=True)))
        return [found[key] for key in keys]

    arguments = [tf.TensorSpec(shape, specs[name].dtype) for name, shape in zip(names, shapes, strict=True)]
    frozen = tf_graph.freeze(tf.function(call).get_concrete_function(*arguments))
    inputs = [_spec(name, shape, specs[name].dtype.name) for name, shape in zip(names, shapes, strict=True)]
    outputs = [_spec(key, tuple(t.shape), t.dtype.name) for key, t in zip(keys, frozen.outputs, strict=True)]
    return Capture(
        kind="savedmodel",
        file="model",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        digest=tf_graph.digest(frozen, names, keys),
        parameters=_parameters(loaded, frozen),
        architecture=judge(tf_graph.operations(frozen)),
    )


def _parameters(loaded: object, frozen: TFFunction) -> int:
    """Returns the number of weights: of variables, or of float constants where the graph was frozen before."""
    variables = {
        id(v): math_size(v.shape) for v in (*getattr(loaded, "variables", ()), *_held(frozen)) if v.dtype.is_floating
    }
    if variables:
        return sum(variables.values())
    constants = [op.outputs[0] for op in frozen.graph.get_operations() if op.type == "Const"]
    return sum(math_size(tensor.shape) for tensor in constants if tensor.dtype.is_floating)


def _held(frozen: TFFunction) -> list[TFTensor]:
    return list(getattr(frozen, "variables", ()))


def _spec(name: str, shape: tuple[int | None, ...], dtype: str) -> TensorSpec:
    fixed = tuple(int(size or 1) for size in shape)
    return TensorSpec(name=name, shape=fixed, dtype=dtype, layout=guess_layout(fixed, dtype, "NHWC"))
