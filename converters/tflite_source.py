"""The float TFLite model that quantization starts from: made from any captured model, with its names and modules.

Only ever runs inside a conversion worker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.tflite_protocols import TFLiteEntry, TFLiteGraph, TFLiteModel, TFLiteOperator
from edgekit.analysis.weight_values import content_key
from edgekit.converters.failure_reason import failure_reason
from edgekit.converters.keras_function import keras_function
from edgekit.converters.tflite_file import (
    constant,
    has_data,
    name_boundary,
    operators,
    order_boundary,
    read,
    separate_outputs,
    text,
)
from edgekit.converters.tflite_kernels import refuse_missing_kernels
from edgekit.converters.tflite_norms import keep_norm_scales
from edgekit.converters.tflite_open import leave_open, probe_sizes
from edgekit.errors import ConversionError
from edgekit.model import CapturedModel, TensorSpec
from edgekit.torch_program.fold_constants import fold_constants
from edgekit.torch_program.graph_nodes import example_inputs_of
from edgekit.torch_program.open_sizes import program_at
from edgekit.torch_program.program_archive import load_program
from edgekit.torch_program.replace_operators import replace_operators
from edgekit.torch_program.rewrites.assignment import scatter_add, scatter_integers
from edgekit.torch_program.rewrites.call import Rewrite
from edgekit.torch_program.rewrites.convolutions import narrow_in_planes, plain_transposed
from edgekit.torch_program.rewrites.ordering import topk_by_places

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.export import ExportedProgram

_FUSED: Final = re.compile(r";+")
_RECURRENT: Final = ("LSTM", "GRU", "RNN")
_LACKS: Final = "LiteRT has no lowering for"
_REWRITES: Final[Mapping[str, Rewrite]] = {
    "conv3d": narrow_in_planes,
    "conv_transpose1d": plain_transposed,
    "conv_transpose2d": plain_transposed,
    "topk": topk_by_places,
    "scatter.src": scatter_integers,
    "scatter_add": scatter_add,
}
"""What LiteRT holds in part only: with output padding its transposed convolutions give wrong values."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatModel:
    """A float TFLite model, and which module of the source each operator belongs to.

    Attributes:
        model: ModelT. Inputs and outputs are named and ordered as in the captured model.
        modules: Name of an operator's first output tensor to dotted module name.
        recurrent: Names of the modules that are LSTMs, GRUs or plain recurrent layers.
    """

    model: TFLiteModel
    modules: Mapping[str, str]
    recurrent: frozenset[str] = frozenset()


def float_model(captured: CapturedModel) -> FloatModel:
    """Returns the float TFLite model of a captured model.

    Raises:
        ConversionError: the model has an operator that TFLite cannot hold.
    """
    places = _Places(scopes={}, owners=frozenset(), recurrent=frozenset())
    if captured.kind != "pt2":
        model = _ready(_from_keras(captured), captured)
    elif captured.open_sizes is None:
        model, places = _with_places(load_program(captured.path), captured)
    else:
        programs = [program_at(captured, sizes) for sizes in probe_sizes(captured.open_sizes)]
        (model, places), (other, _) = (_with_places(program, captured) for program in programs)
        leave_open(model, other, captured)
    modules, recurrent = _name_tensors(model, places), places.recurrent
    del places  # it holds the program's weights, and the file's are made now
    refuse_missing_kernels(model, modules, captured.source)
    before = [text(model.subgraphs[0].tensors[i].name) for i in model.subgraphs[0].outputs]
    name_boundary(model, [spec.name for spec in captured.inputs], [spec.name for spec in captured.outputs])
    for old, spec in zip(before, captured.outputs, strict=True):
        modules[spec.name] = modules.get(old, old)
    return FloatModel(model=model, modules=modules, recurrent=recurrent)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """How LiteRT writes the places of modules in tensor names.

    Attributes:
        scopes: Place to dotted module name.
        owners: Modules that own a weight.
        recurrent: Modules that are recurrent layers.
        weights: Parameters with at least two axes, by module name.
    """

    scopes: Mapping[str, str]
    owners: frozenset[str]
    recurrent: frozenset[str]
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])


def _name_tensors(model: TFLiteModel, places: _Places) -> dict[str, str]:
    """Gives tensors short names, `module/0`, `module/1` and so on, and returns operator output name to module name.

    LiteRT's own names repeat the classes of all modules on the way; in an unrolled LSTM they are half of the file.
    """
    modules: dict[str, str] = {}
    counts: Counter[str] = Counter()
    named: set[int] = set()
    owners: dict[str, str] = {}
    for name, values in places.weights.items():
        owners.setdefault(_unordered_key(values), name)
    for graph, operator, _ in operators(model):
        if not len(operator.outputs):
            continue
        output = text(graph.tensors[operator.outputs[0]].name)
        weight = _weight(model, graph, operator)
        # What computes the model's output is named after that output: then only its weights tell whose it is.
        module = "" if weight is None else owners.get(_unordered_key(weight), "")
        module = module or _module_of(output, places, 0 if weight is None else weight.size) or output
        for index in (*operator.outputs, *operator.inputs):
            tensor = graph.tensors[index] if index >= 0 else None
            if tensor is None or id(tensor) in named or (index in operator.inputs and not has_data(model, tensor)):
                continue
            named.add(id(tensor))
            tensor.name = f"{module}/{counts[module]}"
            counts[module] += 1
        modules[text(graph.tensors[operator.outputs[0]].name)] = module
    return modules


def _ready(content: bytes, captured: CapturedModel) -> TFLiteModel:
    """Returns a converted file with its boundary in the captured model's order, each output a tensor of its own."""
    model = read(content)
    _order(model, captured)
    separate_outputs(model)
    return model


def _with_places(program: ExportedProgram, captured: CapturedModel) -> tuple[TFLiteModel, _Places]:
    return _ready(_from_program(program, captured), captured), _places(program)


def _from_program(program: ExportedProgram, captured: CapturedModel) -> bytes:
    import litert_torch

    try:
        module = program.module()
        if replace_operators(module, _REWRITES):
            fold_constants(module)
        keep_norm_scales(module)
        return bytes(litert_torch.convert(module, example_inputs_of(program)).model_content())
    except Exception as error:
        raise ConversionError(
            f"{captured.source} cannot become tflite: {failure_reason(error, _LACKS, program)}. "
            "Replace that part of the model, or choose another format."
        ) from error


def _places(program: ExportedProgram) -> _Places:
    """Returns the places of all modules of an exported program.

    A tensor of `_blocks.3._conv` is named `Net/Block_3/Conv2d__conv;`: the class of each called module on the way, with
    the last part of its name.
    """
    scopes: dict[str, str] = {}
    recurrent: set[str] = set()
    for node in program.graph.nodes:
        steps: list[str] = []
        for path, cls in node.meta.get("nn_module_stack", {}).values():
            name = cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"
            leaf = path.rpartition(".")[2]
            steps.append(f"{name}_{leaf}" if leaf else name)
            scopes["/".join(steps)] = path
            if name.rpartition(".")[2] in _RECURRENT:
                recurrent.add(path)
    owners = frozenset(name.rpartition(".")[0] for name in program.state_dict)
    weights = {
        name.rpartition(".")[0]: value.detach().float().numpy()
        for name, value in program.state_dict.items()
        if value.ndim > 1 and name.endswith(".weight")
    }
    return _Places(scopes=scopes, owners=owners, recurrent=frozenset(recurrent), weights=weights)


def _weight(model: TFLiteModel, graph: TFLiteGraph, operator: TFLiteOperator) -> NDArray[Any] | None:
    """Returns the matrix or the kernel that an operator reads, None for one without."""
    for index in operator.inputs[1:2]:
        values = constant(model, graph.tensors[index]) if index >= 0 else None
        if values is not None and values.ndim > 1:
            return values
    return None


def _unordered_key(values: NDArray[Any]) -> str:
    """Returns a hash that does not depend on the order of axes, which LiteRT permutes."""
    import numpy as np

    return content_key(np.sort(values, axis=None))


def _module_of(tensor: str, places: _Places, weights: int) -> str:
    """Returns the module that an operator belongs to, from its output tensor's name.

    A fused operator's name lists several places. The one whose module has a matrix of as many weights counts: a factor
    of the model's own may be folded into the layer beside it (a layer normalization's is not: see `tflite_norms`). Else
    it is the one that owns any weight, since shared constants bring in places of other modules. Empty where no place is
    known.
    """
    modules: list[str] = []
    for part in _FUSED.split(tensor):
        place = part
        while place and place not in places.scopes:
            place = place.rpartition("/")[0]
        if place:
            modules.append(places.scopes[place])
    owning = [module for module in modules if module in places.owners]
    fitting = [module for module in owning if module in places.weights and places.weights[module].size == weights]
    return (fitting or owning or modules or [""])[0]


def _from_keras(captured: CapturedModel) -> bytes:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        loaded, function, signature = keras_function(captured)
        # Frozen first: variables of a Keras 3 model would become resources that no delegate runs.
        frozen = convert_variables_to_constants_v2(function.get_concrete_function(*signature))
        return bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen], loaded).convert())
    except Exception as error:
        raise ConversionError(f"{captured.source} cannot become tflite: {failure_reason(error, _LACKS)}.") from error


def _order(model: TFLiteModel, captured: CapturedModel) -> None:
    """Puts inputs and outputs into the captured model's order, by the signature's names."""
    graph = model.subgraphs[0]
    signature = model.signatureDefs[0] if model.signatureDefs else None
    if signature is None:
        inputs, outputs = list(graph.inputs), list(graph.outputs)
    else:
        inputs = _ordered(signature.inputs, captured.inputs)
        outputs = _ordered(signature.outputs, captured.outputs)
    order_boundary(model, inputs, outputs)


def _ordered(entries: Sequence[TFLiteEntry], specs: Sequence[TensorSpec]) -> list[int]:
    """Returns tensor indices in the order of `specs`: by name where the names agree, else by the number in the name."""
    by_name = {text(entry.name): int(entry.tensorIndex) for entry in entries}
    if set(by_name) == {spec.name for spec in specs}:
        return [by_name[spec.name] for spec in specs]
    # litert-torch numbers them: args_0, args_1, ..., args_10.
    return [by_name[name] for name in sorted(by_name, key=lambda n: [int(d) for d in re.findall(r"\d+", n)] or [0])]
