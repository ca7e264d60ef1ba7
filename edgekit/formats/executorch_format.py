"""ExecuTorch: programs of torch, with XNNPACK as their delegate on the CPU."""

from __future__ import annotations

from typing import Final

from edgekit.formats.float_kernels import RECURRENT_LAYER, FloatKernel
from edgekit.formats.format import Format, Package, Runtime, Snippets
from edgekit.formats.practice import HALVES_IN_XNNPACK, efficientnet_lite0, minilm
from edgekit.formats.realisation import Realisation
from edgekit.formats.stored_bytes import FLOAT16, FLOAT32, GraphBytes, Layout, MemoryTerms, Storage, layouts
from edgekit.formats.tensor_words import CPP, PYTHON

# A float32 scale per channel in XNNPACK's delegate, for the int32 bias too. Its dynamic kernels know no depthwise
# convolution and nothing recurrent: those weights stay float.
_INT8: Final = Layout(form="int8", per_channel=4)
_BIAS: Final = Layout(form="int32", per_channel=4)
_WIDENED: Final = Layout(form="float16_as_float32")

_STORAGE: Final = Storage(
    layouts={
        "fp32": layouts(FLOAT32, FLOAT32),
        # XNNPACK's delegate keeps 4 bytes for convolutions that were rounded to float16: the file hardly shrinks.
        "fp16": layouts(_WIDENED, _WIDENED, table=FLOAT16, linear=FLOAT16),
        "int8_static": layouts(_INT8, FLOAT32, bias=_BIAS, recurrent=FLOAT32),
        "int8_dynamic": layouts(_INT8, FLOAT32, recurrent=FLOAT32, depthwise=FLOAT32),
        "int4_weights": layouts(
            _INT8,
            FLOAT32,
            recurrent=FLOAT32,
            depthwise=FLOAT32,
            linear=Layout(form="int4", per_group=2),
            table=Layout(form="int4", per_group=4),
        ),
    },
    graph=GraphBytes(
        fixed=1500,
        per_operator=520,
        per_weight=79,
        per_letter=0,
        per_quantized=500,
        per_dynamic=1700,
        per_step=2214,
        deflated=0.2,
    ),
    keeps_unread=True,
)

# Convolutions in float16 lie in 4 bytes and are packed in 2.
_MEMORY: Final = MemoryTerms(
    fixed_bytes=4_600_000,
    per_operator_bytes=0,
    copies={
        "conv": (1.25, 1, 1),
        "linear": (2, 2, 1),
        "recurrent": (2, 2, 2),
        "table": (1, 1, 1),
        "other": (1, 1, 1),
    },
    widened={},
    unrolls=True,
    points_to_inputs=True,
    dynamic_arena_copies=2.5,
    band=0.2,
)

_SWIFT: Final = {
    "float32": {"scalar": "Float", "stored": "Float"},
    "float64": {"scalar": "Double", "stored": "Double"},
    "int32": {"scalar": "Int32", "stored": "Int32"},
    "int64": {"scalar": "Int64", "stored": "Int64"},
    "int8": {"scalar": "Int8", "stored": "Int8"},
    "uint8": {"scalar": "UInt8", "stored": "UInt8"},
    "bool": {"scalar": "Bool", "stored": "Bool"},
    "int8q": {"scalar": "Float", "stored": "Int8"},
}

FORMAT: Final = Format(
    name="executorch",
    title="ExecuTorch (XNNPACK)",
    suffix=".pte",
    converter="edgekit.converters.to_executorch:ExecuTorchConverter",
    session="edgekit.validators.runners.executorch_session",
    runtime=Runtime(
        title="ExecuTorch",
        modules=("executorch",),
        install="executorch==1.4.1",
        module_title="executorch",
    ),
    needs={"torch": "torch", "torchao": "torchao", "executorch": "executorch"},
    extra="executorch",
    packages=(Package(name="executorch", module="executorch.runtime", purpose="ExecuTorch export and runtime"),),
    records=("executorch",),
    starts_from=("pt2",),
    facts_reader="edgekit.validators.stored_facts.executorch_file:read",
    inspector="edgekit.debugging.inspect_executorch:ExecuTorchInspector",
    snippets=Snippets(words={"swift": _SWIFT, "py": PYTHON, "cpp": CPP}, version_of="executorch"),
    storage=_STORAGE,
    memory=_MEMORY,
    drops=(
        efficientnet_lite0("int8_static", 1.00, 0.39, 2.54),
        minilm("int8_dynamic", 0.11, -0.01, 0.25),
    ),
    practice=(HALVES_IN_XNNPACK,),
    float_kernels=(
        FloatKernel(
            kinds=("DepthwiseConv2d", "convolution"),
            precisions=("int8_dynamic", "int4_weights"),
            stored=False,
            reason="XNNPACK's convolutions with ranges found at run time are two-dimensional and not depthwise",
        ),
        FloatKernel(
            kinds=(RECURRENT_LAYER,),
            precisions=("int8_static", "int8_dynamic", "int8_hybrid", "int8_weights", "int4_weights"),
            stored=False,
            reason="ExecuTorch unrolls recurrent layers and XNNPACK's integer kernels take none of what they become",
        ),
    ),
    realisation=Realisation(
        fusion="xnnpack",
        corrects_bias=True,
        float_results=False,
        dynamic_convolutions="dense",
        integer_recurrent=False,
        weights_group=None,
        dynamic_linear=True,
        float16_activations=True,
    ),
)
