"""ONNX: files that ONNX Runtime runs."""

from __future__ import annotations

from typing import Final

from edgekit.formats.float_kernels import FloatKernel
from edgekit.formats.format import Format, Package, Runtime, Snippets
from edgekit.formats.practice import Rule, efficientnet_lite0, minilm, resemblyzer, tiny_resnet
from edgekit.formats.realisation import Realisation
from edgekit.formats.stored_bytes import FLOAT16, FLOAT32, GraphBytes, Layout, MemoryTerms, Storage, layouts
from edgekit.formats.tensor_words import CPP, PYTHON

# Scale (float32) and zero point (int8) initializers per channel; an integer bias has a scale and an int32 zero point.
# Dynamic linear layers keep each channel's sum too; weights-only ones are MatMulNBits in blocks of 32.
_INT8: Final = Layout(form="int8", per_channel=5, per_channel_deflated=0.73)
_INT4: Final = Layout(form="int4", per_group=4)
_BIAS: Final = Layout(form="int32", per_channel=8, per_channel_deflated=0.45)

_STORAGE: Final = Storage(
    layouts={
        "fp32": layouts(FLOAT32, FLOAT32),
        "fp16": layouts(FLOAT16, FLOAT16),
        "int8_static": layouts(_INT8, FLOAT32, bias=_BIAS),
        "int8_dynamic": layouts(_INT8, FLOAT32, linear=Layout(form="int8", per_channel=8)),
        "int8_weights": layouts(_INT8, FLOAT32, linear=Layout(form="int8", per_group=4, group_size=32)),
        "int4_weights": layouts(_INT8, FLOAT32, linear=_INT4, table=_INT4),
    },
    graph=GraphBytes(
        fixed=300,
        per_operator=150,
        per_weight=35,
        per_letter=2.3,
        per_quantized=950,
        per_dynamic=0,
        per_step=0,
        deflated=0.15,
    ),
    fills_groups=True,
    narrow_recurrent_halves=True,
)

# The protobuf is parsed into initializers, and MLAS reorders convolutions; matrices are packed and freed in turn.
# Recurrent weights are cut and joined again by constant folding.
_MEMORY: Final = MemoryTerms(
    fixed_bytes=13_300_000,
    per_operator_bytes=8_000,
    per_body_bytes=160_000,
    loads_matrices_twice=True,
    copies={
        "conv": (2.75, 2.75, 3.1),
        "linear": (1.15, 1.15, 1.7),
        "recurrent": (2, 2, 8),
        "table": (1.1, 1.1, 1.1),
        "other": (1, 1, 1),
    },
    widened={"fp16": 0},
    unrolls=False,
    points_to_inputs=False,
    band=0.2,
    arena="grown",
)

_KOTLIN: Final = {
    "float32": {"array": "FloatArray", "wrap": "FloatBuffer.wrap({id})", "unwrap": "floatBuffer.toArray()"},
    "int32": {"array": "IntArray", "wrap": "IntBuffer.wrap({id})", "unwrap": "intBuffer.toArray()"},
    "int64": {"array": "LongArray", "wrap": "LongBuffer.wrap({id})", "unwrap": "longBuffer.toArray()"},
    "bool": {
        "array": "BooleanArray",
        "wrap": "ByteBuffer.wrap(ByteArray({id}.size) {{ if ({id}[it]) 1 else 0 }})",
        "unwrap": "byteBuffer.toArray().map {{ it != 0.toByte() }}.toBooleanArray()",
        "java_type": ", OnnxJavaType.BOOL",
    },
    **{
        name: {
            "array": "ByteArray",
            "wrap": "ByteBuffer.wrap({id})",
            "unwrap": "byteBuffer.toArray()",
            "java_type": f", OnnxJavaType.{name.upper()}",
        }
        for name in ("int8", "uint8")
    },
    **{
        f"{name}q": {
            "array": "FloatArray",
            "wrap": "ByteBuffer.wrap(quantize({id}, {scale}f, {zero_point}, {lowest}, {highest}))",
            "unwrap": "byteBuffer.toArray()",
            "java_type": f", OnnxJavaType.{name.upper()}",
        }
        for name in ("int8", "uint8")
    },
}

FORMAT: Final = Format(
    name="onnx",
    title="ONNX (onnxruntime)",
    suffix=".onnx",
    converter="edgekit.converters.to_onnx:ONNXConverter",
    session="edgekit.validators.runners.onnx_session",
    runtime=Runtime(
        title="ONNX Runtime",
        modules=("onnxruntime",),
        install="onnxruntime",
        module_title="onnxruntime",
        widens_halves=True,  # to 32 bits, on processors without 16-bit arithmetic
    ),
    needs={"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript", "torch": "torch"},
    extra="onnx",
    packages=(
        Package(name="onnx", module="onnx", purpose="ONNX files"),
        Package(name="onnxscript", module="onnxscript", purpose="torch to ONNX"),
        Package(name="onnxruntime", module="onnxruntime", purpose="ONNX runtime"),
    ),
    records=("onnx", "onnxruntime", "onnxscript"),
    starts_from=("pt2", "onnx", "keras", "savedmodel"),
    graph_reader="edgekit.analysis.read_onnx_graph:read_onnx_file",
    marks_of_artifacts=(
        b"QuantizeLinear",
        b"QLinearConv",
        b"QLinearMatMul",
        b"QGemm",
        b"MatMulInteger",
        b"ConvInteger",
        b"MatMulNBits",
    ),
    facts_reader="edgekit.validators.stored_facts.onnx_file:read",
    inspector="edgekit.debugging.inspect_onnx:ONNXInspector",
    accelerators="edgekit.validators:accelerators",
    snippets=Snippets(words={"kt": _KOTLIN, "py": PYTHON, "cpp": CPP}),
    storage=_STORAGE,
    memory=_MEMORY,
    drops=(
        efficientnet_lite0("int8_static", 1.25, 0.54, 2.89),
        tiny_resnet("int8_static", 0.14, -0.31, 0.59),
        minilm("int8_dynamic", -0.03, -0.17, 0.09),
        resemblyzer("int8_dynamic", 0.11, 0.10, 0.12),
    ),
    practice=(
        Rule(
            question="speed",
            precisions=("fp16",),
            device_kinds=("jetson",),
            rank=1,
            reason="the GPU has twice the rate in 16-bit float",
        ),
    ),
    float_kernels=(
        FloatKernel(
            kinds=("Conv", "FusedConv", "ConvTranspose"),
            precisions=("int8_dynamic", "int4_weights"),
            stored=True,
            reason="onnxruntime's convolutions with ranges found at run time are several times slower than float",
        ),
        FloatKernel(
            kinds=("ConvTranspose",),
            precisions=("int8_static",),
            stored=True,
            reason="onnxruntime has no integer kernel for transposed convolutions",
        ),
        FloatKernel(
            kinds=("GRU", "LSTM", "RNN"),
            precisions=("int8_static", "int8_dynamic", "int4_weights"),
            stored=True,
            reason="integer states lose accuracy at each step",
        ),
    ),
    realisation=Realisation(
        fusion="xnnpack",
        corrects_bias=True,
        float_results=True,
        dynamic_convolutions="none",
        integer_recurrent=True,
        weights_group=32,
        dynamic_linear=True,
        float16_activations=True,
    ),
)
