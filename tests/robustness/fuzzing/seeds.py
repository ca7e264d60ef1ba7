"""Small valid files of every kind that edgekit reads, made by the tools that write such files.

    python seeds.py FOLDER

Models and their artifacts are of one network of 300 weights. Its budget is too small on purpose: its verdict is FAIL,
so a changed file that passes is an anomaly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

TASK = """[model]
source = "model.py:build"
example_inputs = "model.py:example_inputs"
name = "net"
labels = "labels.txt"
[data]
calibration = "cal.npz"
evaluation = "eval.npz"
metric = "top1"
[data.preprocessing]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
color = "rgb"
[training]
batches = "model.py:batches"
held_out = "model.py:held_out"
loss = "model.py:loss"
epochs = 2
[search]
factory = "model.py:variant"
width = [4, 8]
[budget]
size = "1 kB"
accuracy_drop = "1 pp"
[checks]
without = ["evidence"]
[devices.pi4]
format = "tflite"
budget.latency = "40 ms"
"""

MODEL = """import torch

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, width, 3, padding=1)
        self.linear = torch.nn.Linear(width, 5)

    def forward(self, image):
        return self.linear(torch.relu(self.conv(image)).mean((2, 3)))

def variant(width):
    torch.manual_seed(0)
    return Net(width).eval()

def build():
    return variant(8)

def example_inputs():
    return (torch.zeros(1, 3, 16, 16),)

def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(2):
        yield (torch.randn(4, 3, 16, 16, generator=generator),), torch.tensor([0, 1, 2, 3])

def held_out():
    yield from batches(9)

def loss(output, target):
    return torch.nn.functional.cross_entropy(output, target)
"""

TORCH = """
import numpy as np, torch, model, onnx
from PIL import Image
from pathlib import Path

random = np.random.default_rng(0)
x = random.standard_normal((24, 3, 16, 16)).astype("f4") * random.uniform(0.1, 3, (24, 3, 1, 1)).astype("f4")
net = model.build()
labels = net(torch.from_numpy(x)).argmax(1).numpy()
np.savez("cal.npz", x=x[:12])
np.savez("eval.npz", x=x[12:], targets=labels[12:])
np.save("x.npy", x[:2])
program = torch.export.export(net, (torch.zeros(1, 3, 16, 16),))
torch.export.save(program, "net.pt2")
torch.jit.save(torch.jit.trace(net, torch.zeros(1, 3, 16, 16)), "net.pt")
from onnx import TensorProto, helper, numpy_helper
weights = {name: value.detach().numpy() for name, value in net.named_parameters()}
graph = helper.make_graph(
    [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["m", "linear.weight", "linear.bias"], ["logits"], transB=1),
    ],
    "net", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
    [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
    [numpy_helper.from_array(value, name) for name, value in weights.items()],
)
proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(proto, "net.onnx")
onnx.save(proto, "outside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
for label in "ab":
    Path("images", label).mkdir(parents=True)
    for i, suffix in enumerate(("png", "jpg", "bmp", "webp")):
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype="u1")).save(f"images/{label}/{i}.{suffix}")
Path("labels.txt").write_text("cat\\ndog\\nbird\\nfish\\nbee\\n")
"""

TENSORFLOW = """
import os
os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
import keras
keras.utils.set_random_seed(0)
x = keras.Input((8, 8, 3), name="image")
net = keras.Model(x, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))))
net.save("net.keras")
net.save("net.h5")
net.export("saved", verbose=False)
import numpy as np, tensorflow as tf
graph = tf.Graph()
with graph.as_default():
    image = tf.compat.v1.placeholder(tf.float32, [1, 8, 8, 3], name="image")
    kernel = tf.constant(np.random.default_rng(0).random((3, 3, 3, 4), dtype=np.float32))
    tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "SAME")), [1, 2], name="scores")
open("net.pb", "wb").write(graph.as_graph_def().SerializeToString())
"""

BENCHMARK_OUTPUT = """INFO: Log parameter values verbosely: [0]
INFO: Graph: [net.tflite]
INFO: Loaded model net.tflite
INFO: The input model file size (MB): 0.00384
INFO: Initialized session in 1.234ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=100 first=5000 curr=4800 min=4700 max=5200 avg=4801.5 std=20 p5=4700 median=4800 p95=5000
INFO: Inference timings in us: Init: 1234, First inference: 5000, Warmup (avg): 4900, Inference (avg): 4801.5
INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=3.25
"""

AI_HUB = {
    "execution_summary": {
        "estimated_inference_time": 1234,
        "estimated_inference_peak_memory": 12345678,
        "inference_memory_peak_range": [1, 12345678],
        "all_inference_times": [1234, 1250, 1300, 1240],
        "first_load_time": 5000,
    },
    "execution_detail": [{"name": "conv", "compute_unit": "NPU"}, {"name": "linear", "compute_unit": "CPU"}],
}


def make_seeds(folder: Path) -> None:
    """Makes all files in an empty folder."""
    (folder / "edgekit.toml").write_text(TASK)
    (folder / "model.py").write_text(MODEL)
    (folder / "hub.json").write_text(json.dumps(AI_HUB))
    run_python(folder, "-c", TORCH)
    tensorflow = _start(folder, "-c", TENSORFLOW)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "x"\n'
        + TASK.replace("\n[", "\n[tool.edgekit.").replace("[model]", "[tool.edgekit.model]", 1)
    )
    profile = (ROOT / "device_profiles" / "pi4.toml").read_text()
    (folder / "board.toml").write_text(profile)
    formats = "tflite,onnx,executorch,coreml"
    run_edgekit(
        folder, 1, "export", "-d", "pi4", "--format", formats, "--precision", "int8", "--io", "int8", "-o", "out", "-q"
    )
    run_edgekit(
        folder,
        0,
        "plan",
        "net.onnx",
        "--calibration",
        "cal.npz",
        "-d",
        "pi4",
        "--max-size",
        "1 MB",
        "-o",
        "plan.json",
        "-q",
    )
    run_edgekit(folder, 0, "baseline", "set", "out", "-o", "baseline.json")
    run_edgekit(folder, 0, "bench", "out/net-int8-static.tflite", "--runs", "20", "-o", "bench.json", "-q")
    measured = json.loads((folder / "bench.json").read_text())
    (folder / "bench.json").write_text(json.dumps({**measured, "device": "pi4"}, indent=1))
    megabytes = (folder / "out" / "net-int8-static.tflite").stat().st_size / 1e6
    (folder / "benchmark.txt").write_text(BENCHMARK_OUTPUT.replace("0.00384", f"{megabytes:.6g}"))
    run_edgekit(folder, 1, "search", "-d", "pi4", "--format", "onnx", "--max-size", "10 B", "-o", "variants", "-q")
    if tensorflow.wait():
        raise RuntimeError("the files of TensorFlow could not be made")


def run_edgekit(folder: Path, expected: int, *arguments: str) -> None:
    """Runs `edgekit ARGUMENTS` in a folder, with a cache below it; raises RuntimeError for another exit code."""
    code = subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments], cwd=folder, env=_environment(folder), check=False
    )
    if code.returncode != expected:
        raise RuntimeError(f"edgekit {' '.join(arguments)} ended with {code.returncode}, expected {expected}")


def run_python(folder: Path, *arguments: str) -> None:
    """Runs Python in a folder whose modules it finds; raises RuntimeError where that fails."""
    if _start(folder, *arguments).wait():
        raise RuntimeError(f"python {arguments[0]} failed")


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env={**_environment(folder), "PYTHONPATH": str(folder)}
    )


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "EDGEKIT_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    make_seeds(Path(sys.argv[1]))
