"""onnxruntime's arena: what it grows to, held against onnxruntime itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.predict.grown_arena import Change, block_bytes, grown_bytes
from edgekit.predict.onnxruntime_buffers import changes_of_a_run

MIB = 1 << 20
SHAPE = (1, 16, 512, 512)
TENSOR = 4 * 16 * 512 * 512


def taken(*names):
    """A name takes 1 MiB for each letter's place in the alphabet; with a minus it is given back."""
    return [Change(name=n[-1]) if n[0] == "-" else Change(name=n, size_bytes=(ord(n) - 96) * MIB) for n in names]


def test_chunks_that_are_free_are_used_again():
    # c takes the first region of 4 MiB whole; b fits there when c is back; then a block of 3 MiB.
    assert grown_bytes(taken("c", "-c", "b", "-b")) == 3 * MIB


def test_a_chunk_is_cut_only_where_half_is_left():
    # c leaves 1 of 4 MiB unused: a needs a region of its own, and the block of 4 MiB is the first region.
    assert grown_bytes(taken("c", "a", "-c", "-a")) == 5 * MIB


def test_a_kernels_own_memory_is_in_no_block():
    changes = [*taken("a"), Change(name="own", size_bytes=8 * MIB, planned=False), Change(name="own"), *taken("-a")]
    assert block_bytes(c for c in changes if c.planned) == MIB
    assert grown_bytes(changes) == 9 * MIB


def test_the_block_places_each_buffer_in_the_narrowest_gap():
    # b and d free gaps of 2 and 4 MiB; the next b goes into the first of them.
    assert block_bytes(taken("b", "a", "d", "c", "-b", "-d", "b")) == 10 * MIB


def test_regions_that_loading_left_free_add_nothing():
    assert grown_bytes(taken("a", "-a"), spare_bytes=MIB) == 0


def chain(*kinds, convolution=False):
    """x, perhaps a convolution, operators that each read the one before, and a mean of all."""
    builder = GraphBuilder()
    builder.tensor("x", SHAPE, "float32")
    last = "x"
    if convolution:
        builder.store("w", (16, 16, 1, 1), "float32", lambda: np.ones((16, 16, 1, 1), "f4"))
        builder.tensor("k", SHAPE, "float32")
        roles = {"w": ("kernel", 16)}
        builder.add(
            name="k", type="Conv", kernel="pointwise_conv", reads=["x", "w"], outputs=["k"], macs=1, roles=roles
        )
        last = "k"
    for i, kind in enumerate(kinds):
        builder.tensor(f"t{i}", SHAPE, "float32")
        builder.add(name=f"t{i}", type=kind, kernel="elementwise", reads=[last], outputs=[f"t{i}"])
        last = f"t{i}"
    builder.tensor("y", (1,), "float32")
    builder.add(name="y", type="ReduceMean", kernel="pooling", reads=[last], outputs=["y"])
    return builder.finish(["x"], ["y"])


def predicted(analysis):
    precisions = {item.name: "fp32" for item in analysis.operators}
    return grown_bytes(changes_of_a_run(analysis, precisions, lambda name: analysis.tensors[name].size_bytes))


CASES = {
    "in place": (("Tanh", "Softplus", "Sigmoid"), False),
    "never in place": (("Exp", "Sqrt", "Neg"), False),
    "behind a convolution in blocks": (("Exp", "Sqrt"), True),
    "two kernels for one": (("HardSwish", "HardSwish"), False),
}

RUN = """
import sys
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
kinds, convolution = sys.argv[1].split(","), sys.argv[2] == "True"
nodes, last = [], "x"
if convolution:
    nodes, last = [helper.make_node("Conv", ["x", "w"], ["k"])], "k"
for i, kind in enumerate(kinds):
    nodes.append(helper.make_node(kind, [last], [f"t{i}"]))
    last = f"t{i}"
nodes.append(helper.make_node("ReduceMean", [last], ["y"]))
weights = [numpy_helper.from_array(np.ones((16, 16, 1, 1), np.float32), "w")]
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 16, 512, 512))
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
graph = helper.make_graph(nodes, "g", [x], [y], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model.SerializeToString(), options)
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
x = np.ones((1, 16, 512, 512), np.float32)
before = peak()
for _ in range(2):
    session.run(None, {"x": x})
print(peak() - before)
"""


@pytest.mark.runtime
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_takes_what_is_predicted(case):
    pytest.importorskip("onnxruntime")
    kinds, convolution = CASES[case]
    if convolution and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("convolutions compute in blocks of channels on x86 with AVX2")
    ran = subprocess.run(
        [sys.executable, "-c", RUN, ",".join(kinds), str(convolution)], capture_output=True, text=True, check=True
    )
    # Kernels' code and onnxruntime's own objects come to some megabytes; a buffer has 17.
    assert predicted(chain(*kinds, convolution=convolution)) == pytest.approx(int(ran.stdout), abs=0.4 * TENSOR)
