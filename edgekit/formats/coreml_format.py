"""Core ML: packages that Apple's runtime runs; here, edgekit's evaluator stands in for it."""

from __future__ import annotations

from typing import Final

from edgekit.formats.float_kernels import FloatKernel
from edgekit.formats.format import Format, Package, Runtime, Snippets
from edgekit.formats.practice import (
    SLOW_DYNAMIC_CONVOLUTIONS,
    Rule,
    efficientnet_lite0,
    minilm,
    resemblyzer,
    tiny_resnet,
)
from edgekit.formats.realisation import Realisation
from edgekit.formats.stored_bytes import FLOAT16, FLOAT32, GraphBytes, Layout, Storage, layouts
from edgekit.formats.tensor_words import PYTHON

# A scale per channel (float16) and an int8 zero point, in the weight file.
_INT8: Final = Layout(form="int8", per_channel=3, per_channel_deflated=0.62)
_INT4: Final = Layout(form="int4", per_group=2)

_STORAGE: Final = Storage(
    layouts={
        "fp32": layouts(FLOAT32, FLOAT32),
        "fp16": layouts(FLOAT16, FLOAT16),
        "int8_static": layouts(_INT8, FLOAT16),
        "int8_dynamic": layouts(_INT8, FLOAT16),
        "int8_weights": layouts(_INT8, FLOAT16),
        "int4_weights": layouts(_INT8, FLOAT16, linear=_INT4, table=_INT4),
    },
    graph=GraphBytes(
        fixed=3500,
        per_operator=350,
        per_weight=270,
        per_letter=12,
        per_quantized=1150,
        per_dynamic=0,
        per_step=0,
        deflated=0.1,
    ),
)

# The scalars of an MLMultiArray; 8-bit ones since iOS 26.
_SWIFT: Final = {
    "float32": {"scalar": "Float", "stored": "Float"},
    "float16": {"scalar": "Float", "stored": "Float16"},
    "float64": {"scalar": "Double", "stored": "Double"},
    "int32": {"scalar": "Int32", "stored": "Int32"},
    "int8q": {"scalar": "Float", "stored": "Int8"},
}

FORMAT: Final = Format(
    name="coreml",
    title="Core ML",
    suffix=".mlpackage",
    other_suffixes=(".mlmodel",),
    converter="edgekit.converters.to_coreml:CoreMLConverter",
    session="edgekit.validators.runners.coreml_session",
    runtime=Runtime(
        title="Core ML",
        modules=("coremltools",),
        install="coremltools==9.0",
        module_title="coremltools",
        system="Darwin",
        stand_in="edgekit's evaluator",
        session_imports=("edgekit",),
    ),
    needs={"torch": "torch", "torchao": "torchao", "coremltools": "coremltools"},
    extra="coreml",
    packages=(Package(name="coremltools", module="coremltools", purpose="Core ML export"),),
    records=("coremltools",),
    starts_from=("pt2", "keras", "savedmodel"),
    graph_reader="edgekit.validators.coreml_evaluator.read_costs:read_costs",
    facts_reader="edgekit.validators.stored_facts.coreml_package:read",
    inspector="edgekit.debugging.inspect_coreml:CoreMLInspector",
    accelerators="edgekit.validators:accelerators",
    snippets=Snippets(
        words={"swift": _SWIFT, "py": PYTHON},
        pictures=("swift", "py"),
        boxes=("swift",),
        platforms={"swift": "Vision"},
    ),
    # Core ML stores and computes 16-bit float; a 32-bit package only runs on the CPU.
    float_precision="fp16",
    dynamic_ranges=False,
    storage=_STORAGE,
    why_no_memory="Core ML's memory can only be measured on Apple's systems",
    drops=(
        efficientnet_lite0("int8_static", 1.00, 0.39, 2.54),
        tiny_resnet("int8_static", -0.14, -0.52, 0.23),
        minilm("int8_weights", 0.00, -0.07, 0.08),
        resemblyzer("int8_weights", 0.93, 0.80, 1.06),
    ),
    practice=(
        SLOW_DYNAMIC_CONVOLUTIONS,
        Rule(
            question="speed",
            precisions=("int8_static", "int8_dynamic", "int8_hybrid", "w8a16"),
            rank=1,
            reason="the Neural Engine computes in 16-bit float and gains from reading fewer bytes",
        ),
        Rule(
            question="speed",
            precisions=("fp16",),
            rank=1,
            reason="16-bit float is what the Neural Engine and Apple's GPUs compute in",
        ),
    ),
    float_kernels=(
        FloatKernel(
            kinds=("conv", "conv_transpose", "linear", "matmul", "gather"),
            precisions=("int8_dynamic", "int4_weights"),
            stored=True,
            reason="Core ML chooses no ranges at run time",
        ),
        FloatKernel(
            kinds=("gru", "lstm", "rnn"),
            precisions=("int8_static", "int8_dynamic", "int4_weights"),
            stored=True,
            reason="Core ML's recurrent operators compute in 16-bit float",
        ),
    ),
    realisation=Realisation(
        fusion="mil",
        corrects_bias=True,
        float_results=False,
        dynamic_convolutions="none",
        integer_recurrent=True,
        weights_group=None,
        dynamic_linear=False,
        float16_activations=True,
    ),
)
