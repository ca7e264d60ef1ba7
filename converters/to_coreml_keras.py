"""Core ML from Keras models and SavedModels.

Float packages and integer weights go through coremltools' TensorFlow converter, weights quantized afterwards. It cannot
put activations on fixed grids without a Mac (it collects ranges by running the package in Apple's runtime), so recipes
with calibrated activations go through ONNX into torch, and from there as torch models do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from edgekit.converters.base import Conversion, ConversionRequest
from edgekit.converters.coreml_image import (
    classes_of,
    classifier,
    classifier_outputs,
    image_notes,
    image_type,
    with_image,
)
from edgekit.converters.failure_reason import failure_reason
from edgekit.converters.pt2e_interface import described, refuse_float_io
from edgekit.converters.to_coreml_package import write_package
from edgekit.converters.to_coreml_program import (
    artifact_specs,
    count_operators,
    deployment_target,
    import_coremltools,
    input_types,
)
from edgekit.errors import ConversionError, ModelError
from edgekit.model import CapturedModel, TensorSpec
from edgekit.recipe import Precision, Recipe
from edgekit.sources.tf_protocols import TFTensor
from edgekit.task.image_input import ImageInput
from edgekit.workers.worker import Progress

if TYPE_CHECKING:
    from coremltools.models import MLModel
_LACKS: Final = "coremltools has no conversion for"
_KERAS_BOXES: Final = "boxes of Keras models are decoded inside with --precision int8-static only"
_PRODUCTS: Final = frozenset({"linear", "matmul"})


def import_through_onnx(request: ConversionRequest, progress: Progress) -> ConversionRequest:
    """Returns the request with the model as an exported torch program, in the request's scratch folder.

    Raises:
        ConversionError: tf2onnx or the importer does not know an operator.
    """
    import torch

    from edgekit.converters.onnx_source import float_graph
    from edgekit.sources.onnx_to_torch.importer import import_model
    from edgekit.torch_program.canonical_program import canonical
    from edgekit.torch_program.trace_module import export_module

    progress("importing the model into torch", None)
    model = request.model
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        module, examples = import_model(float_graph(model, request.scratch).model, model.source)
        exported = export_module(module, examples, model.source)
        program = canonical(exported, examples, model.source, [spec.name for spec in model.inputs])
    except ModelError as error:
        raise ConversionError(
            f"{model.source} cannot become coreml {request.recipe.name}: calibrated activations need it as a torch "
            f"model, and the import failed. {error.message} Use --precision int8-weights, which needs no import."
        ) from error
    path = request.scratch / "imported.pt2"
    torch.export.save(program, str(path))
    return replace(request, model=replace(model, kind="pt2", path=path))


def convert_keras(request: ConversionRequest, output: Path, progress: Progress) -> Conversion:
    """Writes a package from a Keras file or a SavedModel folder.

    Raises:
        ConversionError: Core ML cannot hold the model.
    """
    inputs, outputs = artifact_specs(request.model.inputs), artifact_specs(request.model.outputs)
    states = request.model.artifact_states(inputs, outputs)
    if request.io == "int8":
        refuse_float_io(request, inputs, outputs)
    image = request.image
    inputs = inputs if image is None else with_image(inputs, request.model.inputs, image)
    classes = classes_of(image, outputs)
    progress("loading TensorFlow and coremltools", None)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    ct = import_coremltools(with_tensorflow=True)
    progress("converting to Core ML", None)
    try:
        made = _translate(ct, request, inputs, outputs)
        made, kept = _compress_weights(ct, made, request.recipe)
    except Exception as error:  # the frameworks raise many kinds; all of them mean that they cannot hold the model
        raise ConversionError(
            f"{request.model.source} cannot become coreml {request.recipe.name}: {failure_reason(error, _LACKS)}. "
            "Try another format, or change the named operator in the model."
        ) from error
    outputs = classifier_outputs(outputs) if classes else outputs
    progress("writing the package", None)
    write_package(made, described(request, inputs, outputs, states), output)
    return Conversion(
        inputs=inputs,
        outputs=outputs,
        notes=image_notes(image, classes, _KERAS_BOXES if image is not None and image.task == "detection" else None),
        operators=count_operators(made),
        float_fallbacks=kept,
        states=states,
    )


def _translate(
    ct: ModuleType, request: ConversionRequest, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> MLModel:
    import tensorflow as tf

    call = _callable(tf, request.model)
    if request.image is not None:
        call = _of_pixels(call, request.model, request.image)
    names = [f"input_{i}" for i in range(len(inputs))]
    signature = [
        tf.TensorSpec(spec.shape, spec.dtype, name=name) for spec, name in zip(request.model.inputs, names, strict=True)
    ]
    function = tf.function(call).get_concrete_function(*signature)
    precision = ct.precision.FLOAT32 if request.recipe.default == "fp32" else ct.precision.FLOAT16
    model = ct.convert(
        [function],
        source="tensorflow",
        convert_to="mlprogram",
        inputs=_input_types(ct, _renamed(inputs, names), request),
        classifier_config=classifier(ct, classes_of(request.image, outputs)),
        minimum_deployment_target=ct.target[deployment_target(request.recipe, request.io)],
        compute_precision=precision,
        skip_model_load=True,
    )
    return _with_names(ct, model, inputs, outputs)


def _of_pixels(call: Callable[..., object], model: CapturedModel, image: ImageInput) -> Callable[..., object]:
    """Returns the function with pixels in the place of the picture, in the order of the model's channels."""
    place = [spec.name for spec in model.inputs].index(image.spec.name)
    shape = (-1, 1, 1) if image.spec.layout == "NCHW" else (-1,)

    def call_pixels(*tensors: Any) -> object:
        import numpy as np

        mean = np.asarray(image.mean, np.float32).reshape(shape)
        std = np.asarray(image.std, np.float32).reshape(shape)
        return call(*tensors[:place], (tensors[place] - mean) / std, *tensors[place + 1 :])

    return call_pixels


def _input_types(ct: ModuleType, specs: tuple[TensorSpec, ...], request: ConversionRequest) -> list[Any]:
    """Returns the descriptions of inputs; TensorFlow's pictures have the channels where the model has them."""
    types = input_types(ct, specs, image=request.image)
    if request.image is None:
        return types
    return [
        image_type(ct, replace(spec, shape=request.image.spec.shape), request.image)
        if request.image.is_pixels(spec)
        else made
        for spec, made in zip(specs, types, strict=True)
    ]


def _callable(tf: ModuleType, model: CapturedModel) -> Callable[..., object]:
    """Returns a function from input tensors to a list of output tensors, both in the captured order."""
    if model.kind == "keras":
        loaded = tf.keras.models.load_model(model.path, compile=False)

        def call_layers(*tensors: TFTensor) -> list[TFTensor]:
            found = loaded(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
            return list(tf.nest.flatten(found))

        return call_layers
    holder = tf.saved_model.load(str(model.path))
    served = holder.signatures
    signature = served["serving_default"] if "serving_default" in served else next(iter(served.values()))

    def call_signature(*tensors: TFTensor, owner: object = holder) -> list[TFTensor]:
        del owner  # bound here so that the loaded object outlives this function: it owns the variables
        found = signature(**{spec.name: tensor for spec, tensor in zip(model.inputs, tensors, strict=True)})
        return [found[spec.name] for spec in model.outputs]

    return call_signature


def _renamed(specs: tuple[TensorSpec, ...], names: list[str]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, shape=spec.shape, dtype=spec.dtype) for spec, name in zip(specs, names, strict=True)
    )


def _with_names(
    ct: ModuleType, model: MLModel, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> MLModel:
    """Returns the model with the captured model's names of inputs and outputs, which TensorFlow's graph has lost."""
    spec = model.get_spec()
    for found, wanted in ((spec.description.input, inputs), (spec.description.output, outputs)):
        # Two steps: a wanted name may be another tensor's present one.
        old = [feature.name for feature in found]
        for i, name in enumerate(old):
            ct.utils.rename_feature(spec, name, f"edgekit_temporary_{i}", rename_inputs=True, rename_outputs=True)
        for i, item in enumerate(wanted):
            ct.utils.rename_feature(spec, f"edgekit_temporary_{i}", item.name, rename_inputs=True, rename_outputs=True)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _compress_weights(ct: ModuleType, model: MLModel, recipe: Recipe) -> tuple[MLModel, tuple[str, ...]]:
    """Returns the model with quantized weights, and the operators that an override keeps in float."""
    from coremltools.optimize import coreml as cto

    del ct
    wanted = recipe.precisions - {"fp32", "fp16"}
    if not wanted:
        return model, ()
    settings = {"int8": _setting(cto, 8, recipe), "int4": _setting(cto, 4, recipe)}
    by_name: Any = {}  # declared as one configuration by mistake
    kept: list[str] = []
    for name, kind, constants in _weighted_operators(model):
        precision = _precision_of(recipe, name)
        if precision in {"fp32", "fp16"}:
            setting = None
            kept.extend([name] if recipe.default not in {"fp32", "fp16"} else [])
        else:
            setting = settings["int4" if precision == "int4_weights" and kind in _PRODUCTS else "int8"]
        by_name.update(dict.fromkeys(constants, setting))
    config = cto.OptimizationConfig(op_name_configs=by_name)
    return cast("MLModel", cto.linear_quantize_weights(model, config)), tuple(kept)


def _setting(cto: ModuleType, bits: int, recipe: Recipe) -> Any:
    options: Mapping[str, Any] = (
        {"dtype": "int8", "granularity": "per_channel" if recipe.per_channel else "per_tensor"}
        if bits == 8
        else {"dtype": "int4", "granularity": "per_block", "block_size": recipe.group_size}
    )
    return cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0, **options)


def _weighted_operators(model: Any) -> list[tuple[str, str, list[str]]]:
    """Returns (name, type, names of its constants of two axes and more) of each operator that has such."""
    from coremltools.converters.mil.frontend.milproto.load import load as load_program
    from coremltools.converters.mil.mil.var import ListVar

    spec = model.get_spec()
    program = load_program(spec, spec.specificationVersion, file_weights_dir=model.weights_dir, skip_model_load=True)
    found: list[tuple[str, str, list[str]]] = []
    for item in program.functions["main"].operations:
        constants = [
            value.name
            for value in item.inputs.values()
            # The labels of a classifier are a list, which has no shape.
            if not isinstance(value, list | tuple | ListVar) and value.val is not None and len(value.shape or ()) > 1
        ]
        if constants:
            found.append((item.name, item.op_type, constants))
    return found


def _precision_of(recipe: Recipe, name: str) -> Precision:
    """Returns the precision of an operator by the layer names in its own: `functional_1/conv2d_3/convolution`."""
    parts = name.split("/")
    paths = {".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
    return recipe.word_of(paths)
