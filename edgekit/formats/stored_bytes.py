"""How a format stores a model, and what its runtime holds of it: the parts of predictions that differ by format.

Every format keeps weights as raw bytes and puts what integers need beside them: a scale per output channel, often a
zero point, sometimes a scale and a zero point for the bias too. These rules follow the formats' schemas and what our
converters write; `benchmarks/size_prediction.py` compares them with real files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from edgekit.recipe import Precision

WeightGroup = Literal["conv", "linear", "recurrent", "table", "other"]
"""How runtimes tell weights apart when they load them."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one kind of weight lies in a file.

    Attributes:
        form: The bytes of the values: a form of `analysis.graph`, or `int32` for the bias of integer kernels.
        per_channel: Bytes per output channel beside the values.
        per_channel_deflated: What share of these deflate leaves: scales stay, zero points that are all 0 vanish.
        per_group: Bytes per group of columns.
        group_size: Columns of a group; None for the recipe's, of tables `Recipe.table_group`, and then rows that
            groups do not fill stay 8 bits.
    """

    form: str
    per_channel: float = 0.0
    per_channel_deflated: float = 0.9
    per_group: float = 0.0
    group_size: int | None = None


FLOAT32: Final = Layout(form="float32")
FLOAT16: Final = Layout(form="float16")

Layouts = Mapping[str, Layout | None]
"""What a weight is for, to its layout. Beside the roles of `analysis.graph`, `depthwise` and `linear` are kernels that
a format treats unlike others. None where the layout is not known."""


def layouts(matrices: Layout, loose: Layout, **special: Layout | None) -> Layouts:
    """Returns the layout by what a weight is for: matrices, loose values, and what is special."""
    return {
        **dict.fromkeys(("kernel", "recurrent", "table"), matrices),
        **dict.fromkeys(("bias", "norm", "constant"), loose),
        **special,
    }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBytes:
    """What a format needs beside weights and scales, in bytes; measured on converted files.

    Attributes:
        fixed: Headers, manifests, metadata.
        per_operator: One operator with its activations' names and shapes.
        per_weight: One stored tensor: its shape, type, alignment.
        per_letter: One letter of a stored tensor's name, which formats repeat.
        per_quantized: What quantization adds for each activation with a fixed range.
        per_dynamic: What it adds for each kernel whose input is quantized at run time.
        per_step: One time step of one recurrent layer, where these are unrolled.
        deflated: What share of all this deflate leaves.
    """

    fixed: float
    per_operator: float
    per_weight: float
    per_letter: float
    per_quantized: float
    per_dynamic: float
    per_step: float
    deflated: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How a format stores a model.

    Attributes:
        layouts: Precision to layouts. What is missing is not known, and then nothing is predicted.
        graph: The rest of the file.
        keeps_unread: Values that only a slice of a weight reads are stored too: it is sliced when it runs.
        fills_groups: Rows that groups do not fill are filled; else such a weight stays at 8 bits.
        narrow_recurrent_halves: Recurrent input weights of few columns stay 16-bit floats: features of very different
            size would share a row's scale.
    """

    layouts: Mapping[Precision, Layouts]
    graph: GraphBytes
    keeps_unread: bool = False
    fills_groups: bool = False
    narrow_recurrent_halves: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTerms:
    """What one runtime's process holds.

    Attributes:
        fixed_bytes: Kernels' code pages, thread pools, the allocator's slack.
        per_operator_bytes: One operator's structures.
        operators_that_count: Beyond so many, structures no longer grow with their number; None for no end.
        per_body_bytes: A body of an If or a Loop: a graph of its own, laid out and optimized.
        loads_matrices_twice: While a matrix is packed, it is there twice: the largest one makes the peak.
        copies: Copies of a weight's stored bytes at the peak, by group: (float32, float16, integer).
        widened: Precisions whose weights become float32 before use: stored bytes once, and so many copies fewer of the
            float32 form than a float model has.
        unrolls: Recurrent layers are unrolled, and every time step packs its own float32 copy of the state's matrix,
            also where the file holds integers (measured: 3.9 to 4.2 bytes a weight and step).
        points_to_inputs: A convolution keeps a pointer for each output position and tap (XNNPACK).
        band: Half width of the 90 % band, as a share.
        arena: `placed` at fixed offsets, greedily by size, or `grown` by the first runs (`predict.grown_arena`).
        arena_copies: What the arena takes, in arenas: workspaces beside it, or a first run that is laid out otherwise.
        dynamic_arena_copies: The same where ranges are found at run time and each such kernel is a delegate of its own:
            activations lie in the program's plan and, quantized and not, in the delegate's workspace. None for no
            difference.
    """

    fixed_bytes: int
    per_operator_bytes: int
    copies: Mapping[WeightGroup, tuple[float, float, float]]
    widened: Mapping[Precision, float]
    unrolls: bool
    points_to_inputs: bool
    band: float
    operators_that_count: int | None = None
    per_body_bytes: int = 0
    loads_matrices_twice: bool = False
    arena: Literal["placed", "grown"] = "placed"
    arena_copies: float = 1.0
    dynamic_arena_copies: float | None = None
