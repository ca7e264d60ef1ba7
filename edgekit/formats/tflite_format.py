"""TFLite: files that LiteRT runs, with XNNPACK on the CPU."""

from __future__ import annotations

from typing import Final

from edgekit.formats.format import Format, Package, Runtime, Snippets
from edgekit.formats.practice import HALVES_IN_XNNPACK, efficientnet_lite0, minilm, resemblyzer, tiny_resnet
from edgekit.formats.realisation import Realisation
from edgekit.formats.stored_bytes import FLOAT16, FLOAT32, GraphBytes, Layout, MemoryTerms, Storage, layouts
from edgekit.formats.tensor_words import CPP, PYTHON

# A scale (float32) and a zero point (int64) per channel in the tensor's quantization record, and such a record for the
# int32 bias of integer kernels too. 4 bits: fully connected layers and tables, a float16 scale per group.
_INT8: Final = Layout(form="int8", per_channel=12, per_channel_deflated=0.31)
_INT4: Final = Layout(form="int4", per_group=2)
_BIAS: Final = Layout(form="int32", per_channel=12, per_channel_deflated=0.31)

_STORAGE: Final = Storage(
    layouts={
        "fp32": layouts(FLOAT32, FLOAT32),
        # Biases and constants stay float32: only weights are read through DEQUANTIZE.
        "fp16": layouts(FLOAT16, FLOAT32),
        # Unrolled recurrent layers are quantized in parts: how much of them is not known before.
        "int8_static": layouts(_INT8, FLOAT32, bias=_BIAS, recurrent=None),
        "int8_dynamic": layouts(_INT8, FLOAT32),
        "int8_weights": layouts(_INT8, FLOAT32),
        "int4_weights": layouts(_INT8, FLOAT32, linear=_INT4, table=_INT4),
    },
    graph=GraphBytes(
        fixed=3000,
        per_operator=110,
        per_weight=80,
        per_letter=1,
        per_quantized=90,
        per_dynamic=0,
        per_step=2320,
        deflated=0.5,
    ),
)

# The file is mapped: what is never read, as most rows of a table, is never resident. XNNPACK packs the rest.
_MEMORY: Final = MemoryTerms(
    fixed_bytes=3_600_000,
    per_operator_bytes=62_000,
    operators_that_count=60,
    copies={
        "conv": (2, 2, 2),
        "linear": (2, 2, 2),
        "recurrent": (1.5, 1.5, 1.5),
        "table": (0.05, 0.05, 0.05),
        "other": (1, 1, 1),
    },
    widened={"fp16": 1, "int8_weights": 0},
    unrolls=True,
    points_to_inputs=True,
    band=0.15,
    arena_copies=1.2,
)

# com.google.ai.edge.litert.TensorBuffer reads and writes these and no others.
_KOTLIN: Final = {
    "float32": {"array": "FloatArray", "accessor": "Float"},
    "int32": {"array": "IntArray", "accessor": "Int"},
    "int64": {"array": "LongArray", "accessor": "Long"},
    "int8": {"array": "ByteArray", "accessor": "Int8"},
    "bool": {"array": "BooleanArray", "accessor": "Boolean"},
    "uint8": {"array": "ByteArray", "accessor": "Int8"},  # the same bytes
    "int8q": {"array": "FloatArray"},
}

FORMAT: Final = Format(
    name="tflite",
    title="TFLite (LiteRT)",
    suffix=".tflite",
    converter="edgekit.converters.to_tflite:TFLiteConverter",
    session="edgekit.validators.runners.tflite_session",
    runtime=Runtime(
        title="LiteRT",
        modules=("ai_edge_litert", "tflite_runtime", "tensorflow"),
        install="ai-edge-litert",
        module_title="TFLite interpreter",
        android_benchmark=True,
    ),
    needs={
        "ai_edge_litert": "ai-edge-litert",
        "ai_edge_quantizer": "ai-edge-quantizer",
        "litert_torch": "litert-torch",
        "torch": "torch",
    },
    extra="tflite",
    packages=(
        Package(name="litert-torch", module="litert_torch", purpose="torch to TFLite"),
        Package(name="ai-edge-quantizer", module="ai_edge_quantizer", purpose="TFLite quantization"),
        Package(name="ai-edge-litert", module="ai_edge_litert.interpreter", purpose="TFLite runtime"),
    ),
    records=("ai-edge-litert", "ai-edge-quantizer", "litert-torch"),
    starts_from=("pt2", "keras", "savedmodel"),
    graph_reader="edgekit.analysis.read_flatbuffer:read_flatbuffer_precisions",
    facts_reader="edgekit.validators.stored_facts.tflite_file:read",
    inspector="edgekit.debugging.inspect_tflite:TFLiteInspector",
    accelerators="edgekit.validators:accelerators",
    snippets=Snippets(
        words={"kt": _KOTLIN, "py": PYTHON, "cpp": CPP},
        classifiers=("kt",),
        detectors=("kt",),
        segmenters=("kt",),
        platforms={"kt": "MediaPipe Tasks"},
        why_fixed={"kt": "LiteRT's CompiledModel resizes inputs in C++ and not in Kotlin; call the C++ snippet by JNI"},
    ),
    storage=_STORAGE,
    memory=_MEMORY,
    drops=(
        efficientnet_lite0("int8_static", 1.25, 0.54, 2.89),
        tiny_resnet("int8_static", 0.02, -0.42, 0.46),
        minilm("int8_dynamic", 0.14, 0.01, 0.26),
        resemblyzer("int8_dynamic", 0.11, 0.10, 0.12),
    ),
    practice=(HALVES_IN_XNNPACK,),
    realisation=Realisation(
        fusion="xnnpack",
        corrects_bias=True,
        float_results=False,
        dynamic_convolutions="all",
        integer_recurrent=True,
        weights_group=None,
        dynamic_linear=True,
        float16_activations=False,
    ),
)
