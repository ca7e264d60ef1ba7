"""The descriptor of the format: what edgekit asks instead of the format's name. Nothing here imports a framework."""

from __future__ import annotations

from edgekit.formats.format import Format, Package, Runtime, Snippets
from edgekit.formats.stored_bytes import FLOAT16, FLOAT32, GraphBytes, MemoryTerms, Storage, layouts
from edgekit.formats.tensor_words import PYTHON

FORMAT = Format(
    name="npz",
    title="NumPy archive",
    suffix=".npz",
    converter="edgekit_npz.to_npz:NpzConverter",
    session="edgekit_npz.npz_session",
    runtime=Runtime(title="NumPy", modules=("numpy",), install="numpy", module_title="NumPy"),
    needs={"torch": "torch"},
    packages=(Package(name="torch", module="torch", purpose="torch to npz"),),
    records=("edgekit-npz",),
    graph_reader="edgekit_npz.npz_graph:read_npz_graph",
    inspector="edgekit_npz.npz_inspector:NpzInspector",
    accelerators="edgekit_npz:accelerators",
    snippets=Snippets(words={"py": PYTHON}, templates="edgekit_npz:templates"),
    # An array has a header of 128 bytes and two entries of the archive; the graph is one array of text.
    storage=Storage(
        layouts={"fp32": layouts(FLOAT32, FLOAT32), "fp16": layouts(FLOAT16, FLOAT32)},
        graph=GraphBytes(
            fixed=1500, per_operator=110, per_weight=300, per_letter=3, per_quantized=0, per_dynamic=0, per_step=0,
            deflated=0.4,
        ),
    ),
    # Arrays are read into memory once; 16-bit ones get a 32-bit copy, one layer at a time. All results are kept.
    memory=MemoryTerms(
        fixed_bytes=1_500_000, per_operator_bytes=1000,
        copies={"conv": (1, 3, 1), "linear": (1, 3, 1), "recurrent": (1, 3, 1), "table": (1, 1, 1), "other": (1, 1, 1)},
        widened={}, unrolls=False, points_to_inputs=False, band=0.4,
    ),
)  # fmt: skip
