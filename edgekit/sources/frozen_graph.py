"""The source frozen graph: a TensorFlow GraphDef with its weights as constants (`net.pb`). Runs in a worker.

It is what TensorFlow 1 exported for mobile. The graph becomes a SavedModel with one signature, from its placeholders to
what nothing in it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, final

from edgekit.errors import EdgekitError, ModelError
from edgekit.model import SourceKind
from edgekit.plain_text import first_line
from edgekit.sources.base import CaptureRequest, Source
from edgekit.sources.keras_file import why_not_from_tensorflow
from edgekit.sources.saved_model import describe_function, load, unsafe_message, unsafe_operators
from edgekit.torch_program.facts import Capture
from edgekit.workers.worker import Progress

_INPUT: Final = "Placeholder"
_NO_RESULT: Final = frozenset({"NoOp", "Const", "Assert", _INPUT})
_VARIABLES: Final = frozenset({"Variable", "VariableV2", "VarHandleOp", "TemporaryVariable"})


@final
class FrozenGraphSource(Source):
    """Writes the graph as a SavedModel folder, and captures that."""

    kind: ClassVar[SourceKind] = "frozengraph"
    suffixes: ClassVar[tuple[str, ...]] = (".pb",)
    extra: ClassVar[str] = "tensorflow"
    needs: ClassVar[Mapping[str, str]] = {"tensorflow": "tensorflow-cpu"}

    def why_not(self, target: str) -> str | None:
        """Formats that start from TensorFlow models."""
        return why_not_from_tensorflow("savedmodel", target)

    def read(self, request: CaptureRequest, folder: Path, progress: Progress) -> Capture:
        """The graph is imported, never changed."""
        progress("reading the graph", None)
        graph = _read(request.path, request.source)
        progress("writing it as a SavedModel", None)
        try:
            _write(graph, folder / "model", request.source)
            return describe_function(*load(folder / "model", request.source), request)
        except EdgekitError:
            raise
        except Exception as error:  # operators that this TensorFlow does not know, attributes of other versions
            raise ModelError(_not_imported(request.source, error)) from error


def _read(path: Path, title: str) -> Any:
    """Returns the GraphDef in a file.

    Raises:
        ModelError: it holds none, is not frozen, or has operators that reach outside of the graph.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
    from tensorflow.core.framework.graph_pb2 import GraphDef  # pyright: ignore[reportAttributeAccessIssue]  # generated

    graph = GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ModelError(
            f"{title} is no TensorFlow graph (GraphDef), or it is damaged. Copy or save it again."
        ) from error
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    if not graph.node:
        raise ModelError(f"{title} is no TensorFlow graph (GraphDef): it has no node.")
    if unsafe := unsafe_operators(node.op for node in nodes):
        raise ModelError(unsafe_message(title, unsafe))
    if variables := [node.name for node in nodes if node.op in _VARIABLES]:
        raise ModelError(
            f"{title} is not frozen: its weights are variables ({', '.join(variables[:3])}), and the file holds none "
            "of their values. Freeze it where its checkpoint is "
            "(tf.compat.v1.graph_util.convert_variables_to_constants), or save the model as a SavedModel and give its "
            "folder."
        )
    return graph


def _write(graph: Any, target: Path, title: str) -> None:
    import tensorflow as tf

    inputs = [node.name for node in graph.node if node.op == _INPUT]
    outputs = _results(graph.node)
    if not inputs or not outputs:
        raise ModelError(
            f"{title} has {len(inputs)} placeholders and {len(outputs)} results; expected one of each at least."
        )
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    part = whole.prune([f"{name}:0" for name in inputs], [f"{name}:0" for name in outputs])
    names = _short(outputs)
    signature = [
        tf.TensorSpec(t.shape, t.dtype, name=name) for t, name in zip(part.inputs, _short(inputs), strict=True)
    ]

    def serve(*tensors: object) -> dict[str, object]:
        made = part(*tensors)
        return dict(zip(names, made if isinstance(made, (list, tuple)) else [made], strict=True))

    holder = tf.Module()
    holder.graph = whole  # pyright: ignore[reportAttributeAccessIssue]  TensorFlow tracks what is assigned
    tf.saved_model.save(holder, str(target), signatures=tf.function(serve, input_signature=signature))


def _not_imported(title: str, error: Exception) -> str:
    import tensorflow as tf

    return (
        f"{title} cannot be imported by TensorFlow {tf.__version__}: {first_line(error)}\n"
        "It is damaged, or of another version. Save the model as a SavedModel with the TensorFlow that wrote it, and "
        "give its folder."
    )


def _results(nodes: Sequence[Any]) -> list[str]:
    """Returns the nodes whose results nothing reads."""
    read = {name.removeprefix("^").partition(":")[0] for node in nodes for name in node.input}
    return [node.name for node in nodes if node.name not in read and node.op not in _NO_RESULT]


def _short(names: Sequence[str]) -> list[str]:
    """Returns the last parts of names (`Softmax` of `Predictions/Softmax`), whole ones where those are not unique."""
    last = [name.rpartition("/")[2] for name in names]
    return last if len({name.lower() for name in last}) == len(last) else [name.replace("/", "_") for name in names]
