"""Keras files, SavedModels and TFLite files, through the worker's entry. TensorFlow runs in one child process.

The child writes every file that the tests read, captures each of them, and leaves records and messages behind:
TensorFlow is imported once, and not into the process of the other tests.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import ModelError
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.workers.structure import unstructure
from edgekit.workers.worker import silent

CHILD = """
import json, os, sys, zipfile
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np, tensorflow as tf
from pathlib import Path
from edgekit.errors import EdgekitError
from edgekit.sources.base import CaptureRequest
from edgekit.sources.capture import run
from edgekit.workers.structure import unstructure

base = Path(sys.argv[1])
L = keras.layers
results = {}

def capture(source, **settings):
    request = CaptureRequest(source=source, base=base, output=base / "out", name="net", **settings)
    try:
        record = {"record": unstructure(run(request, lambda phrase, share=None: None))}
    except EdgekitError as error:
        record = {"message": error.message}
    results[source + "".join(sorted(settings))] = record

def save(model, name):
    model.save(base / name)

keras.utils.set_random_seed(0)
x = keras.Input((8, 8, 3), name="image")
y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)))
y = L.DepthwiseConv2D(3)(y)
y = L.Conv2DTranspose(2, 2)(y)
cnn = keras.Model(x, [L.Dense(5, name="logits")(L.Flatten()(y)), L.GlobalAveragePooling2D(name="mean")(y)])
generator = np.random.default_rng(0)
cnn.set_weights([generator.uniform(0.1, 1.0, w.shape) for w in cnn.get_weights()])
save(cnn, "cnn.keras")
save(cnn, "cnn.h5")
cnn.export(base / "cnn_folder", verbose=False)
s = keras.Input((6, 4), name="steps")
rnn = L.Bidirectional(L.GRU(3))(L.LSTM(5, return_sequences=True)(s))
save(keras.Model(s, rnn), "rnn.keras")
i = keras.Input((6,), dtype="int32", name="ids")
e = L.Embedding(20, 8)(i)
t = L.Dense(2)(L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 4)(e, e)))
save(keras.Model(i, t), "transformer.keras")
f = keras.Input((None, 3), name="free")
save(keras.Model(f, L.Dense(2)(f)), "free.keras")
b = keras.Input(batch_shape=(4, 3), name="fixed")
save(keras.Model(b, L.Dense(2)(b)), "batch.keras")
m = keras.Input((4,))
mark = base / "ran"
lam = keras.Model(m, L.Lambda(lambda v: (__import__("pathlib").Path(str(mark)).touch(), v * 2)[1])(m))
save(lam, "lambda.keras")
save(lam, "lambda.h5")

def craft(name, layer):
    # The architecture of a sound file with another layer in it, in both kinds of file.
    import h5py
    sound = keras.Model(m, L.Dense(2, name="dense")(m))
    for suffix in (".keras", ".h5"):
        save(sound, name + suffix)
    def changed(text):
        data = json.loads(text)
        one = next(x for x in data["config"]["layers"] if x["config"]["name"] == "dense")
        one.update(layer, config={"name": "dense", **layer["config"]})
        return json.dumps(data)
    with zipfile.ZipFile(base / (name + ".keras")) as archive:
        members = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(base / (name + ".keras"), "w") as archive:
        for entry, data in members.items():
            archive.writestr(entry, changed(data) if entry == "config.json" else data)
    with h5py.File(base / (name + ".h5"), "r+") as file:
        file.attrs["model_config"] = changed(file.attrs["model_config"])

class Touch:
    def __reduce__(self):
        return Path.touch, (mark,)

import base64, pickle
pickled = base64.b64encode(pickle.dumps(Touch())).decode()
craft("torch", {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"module": pickled}})
program = {"filepath": str(base / "prints"), "call_endpoint": "serving_default"}
craft("program", {"class_name": "TFSMLayer", "module": "keras.layers", "config": program})
craft("words", {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}})
craft("system", {"class_name": "system", "module": "os", "config": {"command": f"touch {mark}"}})
fetch = {"class_name": "function", "module": "keras.utils", "config": "get_file", "registered_name": "get_file"}
craft("fetch", {"class_name": "Dense", "module": "keras.layers", "config": {"units": 2, "activation": fetch}})
CRAFTED = [name + suffix for name in ("torch", "program", "words", "system", "fetch") for suffix in (".keras", ".h5")]

class Mine(keras.layers.Layer):
    def call(self, v):
        return v

own = keras.Model(m, Mine()(m))
save(own, "own.keras")
save(own, "own.h5")
save(keras.Sequential([L.Dense(3)]), "unbuilt.keras")
cnn.save_weights(base / "only.weights.h5")
(base / "cut.h5").write_bytes((base / "cnn.h5").read_bytes()[:5000])

class Module(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(np.ones((4, 3), np.float32))

    @tf.function(input_signature=[tf.TensorSpec((None, n), tf.float32, name=name) for n, name in ((4, "a"), (3, "b"))])
    def one(self, a, b):
        return {"sum": a @ self.w + b, "difference": a @ self.w - b}

class Printer(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def prints(self, a):
        tf.print(a)
        return {"y": a}

class Writer(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def writes(self, a):
        tf.io.write_file(str(mark), "x")
        return {"y": a}

    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32)])
    def saves(self, a):
        tf.raw_ops.SaveV2(prefix=str(mark), tensor_names=["a"], shape_and_slices=[""], tensors=[a])
        return {"y": a}

writer = Writer()
for name in ("writes", "saves"):
    tf.saved_model.save(writer, str(base / name), signatures=getattr(writer, name))
mod = Module()
tf.saved_model.save(mod, str(base / "two_inputs"), signatures={"main": mod.one})
tf.saved_model.save(mod, str(base / "no_default"), signatures={"one": mod.one, "two": mod.one})
printer = Printer()
tf.saved_model.save(printer, str(base / "prints"), signatures=printer.prints)
for name in ("damaged", "empty", "cut_variables"):
    (base / name).mkdir()
(base / "damaged" / "saved_model.pb").write_bytes(b"hello world")
(base / "empty" / "saved_model.pb").write_bytes(b"")
graph = (base / "two_inputs" / "saved_model.pb").read_bytes()
(base / "cut_variables" / "saved_model.pb").write_bytes(graph)

converter = tf.lite.TFLiteConverter.from_saved_model(str(base / "cnn_folder"))
(base / "float.tflite").write_bytes(converter.convert())
converter = tf.lite.TFLiteConverter.from_saved_model(str(base / "cnn_folder"))
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([np.random.rand(1, 8, 8, 3).astype(np.float32)] for _ in range(4))
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.int8
(base / "int8.tflite").write_bytes(converter.convert())
function = mod.one.get_concrete_function()
converter = tf.lite.TFLiteConverter.from_concrete_functions([function], mod)
(base / "linear.tflite").write_bytes(converter.convert())

def frozen(name, build):
    graph = tf.Graph()
    with graph.as_default():
        build()
    (base / name).write_bytes(graph.as_graph_def().SerializeToString())

v1 = tf.compat.v1
kernel = generator.uniform(0.1, 1.0, (3, 3, 3, 4)).astype(np.float32)

def classify():
    image = v1.placeholder(tf.float32, [None, 8, 8, 3], name="image")
    hidden = tf.nn.relu6(tf.nn.conv2d(image, tf.constant(kernel), 1, "SAME"))
    tf.nn.softmax(tf.reduce_mean(hidden, [1, 2]), name="net/head/scores")

def unfrozen():
    tf.matmul(v1.placeholder(tf.float32, [1, 3]), v1.get_variable("weights", [3, 2], use_resource=False))

frozen("frozen.pb", classify)
frozen("unfrozen.pb", unfrozen)
frozen("writing.pb", lambda: tf.io.write_file(str(mark), v1.placeholder(tf.string, [])))
frozen("closed.pb", lambda: tf.identity(tf.constant(1.0)))
(base / "text.pb").write_text("no graph at all")
(base / "nothing.pb").write_bytes(b"")
for name in ("frozen.pb", "unfrozen.pb", "writing.pb", "closed.pb", "text.pb", "nothing.pb"):
    capture(name)

text = "import torch\\ndef give():\\n    return torch.zeros(1, 7, 3)\\n"
(base / "data.py").write_text(text + "def wrong():\\n    return [torch.zeros(1, 7, 4)]\\n")
mark.unlink(missing_ok=True)  # the layer ran where it was built
for name in ("writes", "saves", *CRAFTED):
    capture(name)
for name in ("cnn.keras", "cnn.h5", "cnn_folder", "rnn.keras", "transformer.keras", "free.keras", "batch.keras",
             "lambda.keras", "lambda.h5", "own.keras", "own.h5", "unbuilt.keras", "only.weights.h5", "cut.h5",
             "two_inputs", "no_default", "prints", "damaged", "empty", "cut_variables"):
    capture(name)
capture("free.keras", example_inputs="data.py:give")
capture("free.keras", calibration="data.py:wrong")
results["ran"] = mark.exists()
(base / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tensorflow")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


CNN_PARAMETERS = 3 * 4 * 9 + 4 + 4 * 4 + 4 * 9 + 4 + 4 * 2 * 4 + 2 + 98 * 5 + 5
CNN_MACS = 64 * 4 * 27 + 36 * 4 * 9 + 36 * 4 * 2 * 4 + 98 * 5


def spec(name: str, shape: list[int], dtype: str = "float32", layout: str | None = None) -> dict[str, Any]:
    facts = {"name": name, "shape": shape, "dtype": dtype, "layout": layout, "scale": None, "zero_point": None}
    return {**facts, "axes": [], "largest": []}


@pytest.mark.parametrize("name", ["cnn.keras", "cnn.h5"])
def test_a_keras_file_is_captured_with_its_facts(results, name):
    record = results[name]["record"]
    assert (record["source_kind"], record["kind"], Path(record["path"]).name) == ("keras", "keras", "model.keras")
    assert record["inputs"] == [spec("image", [1, 8, 8, 3], layout="NHWC")]
    assert record["outputs"] == [spec("logits", [1, 5]), spec("mean", [1, 2])]
    assert (record["parameters"], record["macs"]) == (CNN_PARAMETERS, CNN_MACS)
    assert (record["family"], record["family_evidence"]) == ("cnn", "3 convolutions (1 depthwise), 1 linear layer")


def test_equal_keras_models_have_equal_digests(results):
    assert results["cnn.keras"]["record"]["digest"] == results["cnn.h5"]["record"]["digest"]


def test_a_saved_model_is_captured_with_its_facts(results):
    record = results["cnn_folder"]["record"]
    assert (record["source_kind"], record["kind"], Path(record["path"]).name) == ("savedmodel", "savedmodel", "model")
    assert record["inputs"] == [spec("image", [1, 8, 8, 3], layout="NHWC")]
    assert [one["shape"] for one in record["outputs"]] == [[1, 5], [1, 2]]
    assert (record["parameters"], record["macs"]) == (CNN_PARAMETERS, CNN_MACS)


def test_a_frozen_graph_is_captured_from_its_placeholders_to_what_nothing_reads(results):
    record = results["frozen.pb"]["record"]
    assert (record["source_kind"], record["kind"]) == ("frozengraph", "savedmodel")
    assert record["inputs"] == [spec("image", [1, 8, 8, 3], layout="NHWC")]
    assert record["outputs"] == [spec("scores", [1, 4])]
    assert (record["parameters"], record["macs"], record["family"]) == (3 * 3 * 3 * 4, 64 * 4 * 27, "cnn")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "unfrozen.pb",
            (
                "unfrozen.pb is not frozen: its weights are variables (weights), and the file holds none of their "
                "values. Freeze it where its checkpoint is (tf.compat.v1.graph_util.convert_variables_to_constants), "
                "or save the model as a SavedModel and give its folder."
            ),
        ),
        (
            "writing.pb",
            (
                "writing.pb holds WriteFile, which reach files, Python or the terminal when the model runs; no "
                "on-device format can hold them and edgekit does not run them. Export the model without."
            ),
        ),
        ("closed.pb", "closed.pb has 0 placeholders and 1 results; expected one of each at least."),
        ("text.pb", "text.pb is no TensorFlow graph (GraphDef), or it is damaged. Copy or save it again."),
        ("nothing.pb", "nothing.pb is empty (0 bytes)."),
    ],
)
def test_a_graph_that_cannot_be_captured_says_why(results, name, message):
    assert results[name]["message"] == message


def test_inputs_of_a_saved_model_are_in_the_order_of_its_function(results):
    record = results["two_inputs"]["record"]
    assert [one["name"] for one in record["inputs"]] == ["a", "b"]
    assert [one["name"] for one in record["outputs"]] == ["difference", "sum"]
    assert (record["parameters"], record["family"]) == (12, "mlp")


def test_a_recurrent_keras_model_counts_every_step(results):
    record = results["rnn.keras"]["record"]
    assert (record["family"], record["family_evidence"]) == ("rnn", "2 recurrent layers")
    assert record["macs"] == 6 * (4 * 20 + 5 * 20) + 2 * 6 * (5 * 9 + 3 * 9)


def test_a_keras_transformer_with_token_ids_is_one(results):
    record = results["transformer.keras"]["record"]
    assert record["inputs"] == [spec("ids", [1, 6], dtype="int32")]
    assert record["family"] == "transformer"
    # Query, key, value and output projections 8x8; two products of 6x6x8; the head 8x2.
    assert record["macs"] == 4 * 6 * 64 + 2 * 36 * 8 + 16


def test_free_sizes_come_from_the_example_inputs(results):
    assert results["free.kerasexample_inputs"]["record"]["inputs"] == [spec("free", [1, 7, 3])]


def test_a_fixed_first_size_is_the_files(results):
    assert results["batch.keras"]["record"]["inputs"] == [spec("fixed", [4, 3])]


WAY_OUT = "that SavedModel folder."
MESSAGES = {
    "free.kerascalibration": 'free.keras: the example inputs give (1, 7, 4) for the input "free"; expected (?, ?, 3).',
    "free.keras": (
        'free.keras: the input "free" has the shape (?, ?, 3) with free sizes, and artifacts have fixed shapes, and '
        "the task has neither example inputs nor calibration data. Give the sizes: --input free=1x128x3\n"
        "Or add a function that returns them and name it in edgekit.toml:\n"
        "    def example_inputs():\n"
        "        return (torch.zeros(1, 128, 3),)\n"
        '    [model] example_inputs = "model.py:example_inputs"\n'
        "or on the command line: --example-inputs model.py:example_inputs"
    ),
    **{
        f"lambda{suffix}": f"lambda{suffix} holds a Lambda layer, which is Python code inside the file; edgekit runs "
        "no code from a file. Replace it by a layer or keras.ops, or export the model where its code is, "
        "model.export('folder'), and give that SavedModel folder."
        for suffix in (".keras", ".h5")
    },
    **{
        f"own{suffix}": f"own{suffix} holds the custom class Mine, whose code is not in the file. Export the model "
        "where its code is, model.export('folder'), and give that SavedModel folder."
        for suffix in (".keras", ".h5")
    },
    "unbuilt.keras": (
        "unbuilt.keras: the model does not say its input shape: it was never built, or it is a subclass of "
        "keras.Model. Export it with its shapes, model.export('folder'), and give that SavedModel folder."
    ),
    "no_default": (
        "no_default: the SavedModel has no signature serving_default (its signatures: one, two). Export it with "
        "model.export('folder'), or with tf.saved_model.save(model, folder, signatures=function)."
    ),
    "prints": (
        "prints holds PrintV2, which reach files, Python or the terminal when the model runs; no on-device format "
        "can hold them and edgekit does not run them. Export the model without."
    ),
    **{
        name: f"{name} holds {found}, which reach files, Python or the terminal when the model runs; no on-device "
        "format can hold them and edgekit does not run them. Export the model without."
        # Both functions lie in both folders; what only a checkpoint may do is refused where a signature does it.
        for name, found in (("writes", "WriteFile"), ("saves", "SaveV2, WriteFile"))
    },
    **{
        f"{name}{suffix}": f"{name}{suffix} holds {code}; edgekit runs no code from a file. Replace it by a layer or "
        "keras.ops, or export the model where its code is, model.export('folder'), and give that SavedModel folder."
        for suffix in (".keras", ".h5")
        for name, code in (
            ("torch", "a layer TorchModuleWrapper, which is a pickle inside the file"),
            ("program", "a layer TFSMLayer, which loads a program from another folder"),
            ("words", "a layer StringLookup that reads its vocabulary from another file"),
        )
    },
    "damaged": ("damaged: saved_model.pb is damaged: it is no SavedModel message. Copy or export the model again."),
    "empty": "empty: saved_model.pb holds no graph. Copy or export the model again.",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_file_that_cannot_be_captured_is_reported(results, name):
    assert results[name]["message"] == MESSAGES[name]


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        (
            "only.weights.h5",
            "only.weights.h5 cannot be read as a Keras model: ",
            "\nIt is damaged, or holds weights without an architecture. Save the whole model: model.save('net.keras').",
        ),
        (
            "cut.h5",
            "cut.h5 cannot be read as a Keras model: ",
            "\nIt is damaged, or holds weights without an architecture. Save the whole model: model.save('net.keras').",
        ),
        (
            "cut_variables",
            "cut_variables cannot be loaded as a SavedModel: ",
            "\nA file of it is missing or damaged. Export the model again.",
        ),
    ],
)
def test_a_damaged_file_is_reported_with_the_frameworks_reason(results, name, start, end):
    message = results[name]["message"]
    assert message.startswith(start)
    assert message.endswith(end)


@pytest.mark.parametrize("name", ["system.keras", "system.h5", "fetch.keras", "fetch.h5"])
def test_what_a_layer_names_outside_of_keras_is_not_called(results, name):
    assert "message" in results[name]


def test_nothing_of_all_these_files_has_run(results):
    assert results["ran"] is False


def capture(folder: Path, source: str, tmp_path: Path) -> dict[str, Any]:
    request = CaptureRequest(source=source, base=folder, output=tmp_path / "out", name="net")
    return unstructure(run(request, silent))


def test_a_float_tflite_file_is_read(folder, tmp_path):
    record = capture(folder, "float.tflite", tmp_path)
    assert (record["source_kind"], record["kind"], Path(record["path"]).name) == ("tflite", "tflite", "model.tflite")
    assert [(one["shape"], one["dtype"], one["layout"]) for one in record["inputs"]] == [
        ([1, 8, 8, 3], "float32", "NHWC")
    ]
    assert sorted(one["shape"] for one in record["outputs"]) == [[1, 2], [1, 5]]
    assert (record["family"], record["macs"]) == ("cnn", CNN_MACS)
    # The batch norm's 16 values are folded into the convolution.
    assert record["parameters"] == CNN_PARAMETERS - 16


def test_an_int8_tflite_file_is_read_with_scales(folder, tmp_path):
    record = capture(folder, "int8.tflite", tmp_path)
    (one,) = record["inputs"]
    assert one["dtype"] == "int8"
    assert one["scale"] > 0
    assert -128 <= one["zero_point"] <= 127
    assert record["macs"] == CNN_MACS


def test_a_linear_tflite_file_is_an_mlp(folder, tmp_path):
    record = capture(folder, "linear.tflite", tmp_path)
    assert (record["family"], record["macs"]) == ("mlp", 12)


def test_equal_tflite_files_have_equal_digests_and_others_not(folder, tmp_path):
    digests = {capture(folder, name, tmp_path)["digest"] for name in ("float.tflite", "float.tflite", "int8.tflite")}
    assert len(digests) == 2


def test_a_cut_off_tflite_file_is_refused(folder, tmp_path):
    data = (folder / "float.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError) as caught:
        capture(tmp_path, "cut.tflite", tmp_path)
    start, end = caught.value.message.split(" requires a buffer of at least ")
    assert start == "cut.tflite: its graph cannot be read (an offset leads out of the file: unpack_from"
    assert end.endswith("It is damaged, or built in a way that edgekit does not know: copy or export the file again.")


def test_a_tflite_file_without_a_graph_is_refused(tmp_path):
    # A root table whose vtable holds no field.
    (tmp_path / "none.tflite").write_bytes(bytes([12, 0, 0, 0]) + b"TFL3" + bytes([4, 0, 4, 0, 4, 0, 0, 0]))
    message = "none.tflite holds no graph: it is damaged. Copy or convert the file again."
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        capture(tmp_path, "none.tflite", tmp_path)
