"""Every kind of model and data through a real export: models and data in memory, one tiny net, one or two formats."""

from __future__ import annotations

import gc
import logging
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.errors import ProfileError, UsageError, VerdictError

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]

torch = pytest.importorskip("torch")
OPEN = {"max_drop": "90 pp", "max_slice_drop": "90 pp", "max_latency": "9 s"}
"""The nets are tiny and untrained: their verdict on accuracy is not the subject here."""


class Net(torch.nn.Module):
    """Classes of (N, 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8 * 64, 4)

    def forward(self, image):
        return self.head(self.drop(torch.relu(self.conv(image))).flatten(1))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.chdir(tmp_path_factory.mktemp("work"))
    patch.delenv("EDGEKIT_DEVICE", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def images():
    return torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def labels(net, images):
    net.eval()
    return net(images).argmax(1).detach()


@pytest.fixture(scope="module")
def exported(net, images, labels):
    return edgekit.export(
        net, device="pi4", formats="onnx", precision="int8", calibration=images, evaluation=(images, labels),
        metric="top1", strict=False, **OPEN,
    )  # fmt: skip


def test_the_report_is_the_json_as_objects(exported):
    data = exported.to_json()
    assert exported.passed is True
    assert data["passed"] is True
    assert exported.checks["size"].value == data["artifacts"][0]["size_bytes"]
    assert exported.artifacts["onnx"].path.is_file()
    assert exported.artifacts["onnx"].path.name == "net-int8-static.onnx"
    assert exported.plan.chosen.runtime == "onnx"
    assert data["data"]["evaluation"]["items"] == 24
    assert data["model"]["source"] == "net.pt2"
    exported.raise_if_failed()


def test_the_report_is_short_as_text_and_a_table_in_a_notebook(exported):
    assert repr(exported) == "<ExportOutcome export for pi4: onnx int8-static: passed>"
    page = exported._repr_html_()
    assert '<b style="color:#1a7f37">PASS</b> export for pi4: onnx int8-static' in page
    assert "<td>accuracy drop</td>" in page


def test_no_temporary_path_gets_into_an_artifact(exported):
    metadata = exported.artifacts["onnx"].metadata
    assert metadata["edgekit.source"] == "net.pt2"
    assert "edgekit.preprocessing" not in metadata
    assert str(Path.cwd()) not in str(dict(metadata))


def test_the_default_output_lives_as_long_as_the_report(net, images):
    made = edgekit.export(net, device="pi4", formats="onnx", precision="fp32", inputs=images, max_drop="90 pp")
    folder = made.folder
    assert (folder / "report.json").is_file()
    del made
    gc.collect()
    assert not folder.exists()


def state(net):
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "random": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002  the old generator is the global one
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "training": [module.training for module in net.modules()],
        "gradients": [parameter.requires_grad for parameter in net.parameters()],
        "weights": [parameter.detach().clone().tolist() for parameter in net.parameters()],
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logging": (logging.root.level, tuple(logging.root.handlers), logging.getLogger("torch.export").level),
        "warnings": list(warnings.filters),
    }


def test_an_export_changes_nothing_of_the_process_and_prints_nothing(net, images, labels, capfd):
    net.train()
    before = state(net)
    edgekit.export(
        net, device="pi4", formats="onnx", precision="int8", calibration=images, evaluation=(images, labels), **OPEN
    )
    assert state(net) == before
    assert capfd.readouterr() == ("", "")


def test_the_same_module_in_memory_and_from_a_factory_is_the_same_model(net, exported, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(1, 8, 3, padding=1)\n"
        "        self.drop = torch.nn.Dropout(0.5)\n"
        "        self.head = torch.nn.Linear(8 * 64, 4)\n"
        "    def forward(self, image):\n"
        "        return self.head(self.drop(torch.relu(self.conv(image))).flatten(1))\n"
        "def build():\n"
        "    net = Net()\n"
        f"    net.load_state_dict(torch.load({str(tmp_path / 'net.pth')!r}, weights_only=True))\n"
        "    return net.eval()\n"
    )
    plan = edgekit.plan(f"{tmp_path / 'net.py'}:build", device="pi4", formats="onnx", inputs={"image": (1, 1, 8, 8)})
    assert plan.plan.model.digest == exported.report.model.digest
    assert plan.passed is True
    assert repr(plan).startswith("<PlanOutcome plan for pi4: onnx ")


def program(net):
    return torch.export.export(net.eval(), (torch.zeros(1, 1, 8, 8),))


def onnx_model(net):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.eye(8, dtype="f4"), "w")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 8)) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "tiny net", ends[:1], ends[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def keras_model(net):
    keras = pytest.importorskip("keras")
    return keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(4, activation="relu")], name="small")


@pytest.mark.parametrize(
    ("build", "name"),
    [(program, "model-fp32.onnx"), (onnx_model, "tiny-net-fp32.onnx"), (keras_model, "small-fp32.onnx")],
    ids=["exported program", "onnx", "keras"],
)
def test_other_models_in_memory_are_exported(build, name, net):
    made = edgekit.export(build(net), device="pi4", formats=["onnx"], precision="fp32", max_drop="90 pp")
    assert made.errors == {}
    assert made.artifacts["onnx"].path.name == name


def accuracy(outputs, targets):
    return float((outputs.argmax(1) == targets).mean())


def loader(images, labels):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=8)


def dataset(images, labels):
    return torch.utils.data.TensorDataset(images, labels)


def generator(images, labels):
    return lambda: ((images[i : i + 1], labels[i]) for i in range(len(images)))


def arrays(images, labels):
    return images.numpy(), labels.numpy()


@pytest.mark.parametrize("form", [loader, dataset, generator, arrays], ids=lambda form: form.__name__)
def test_every_form_of_data_gives_the_same_samples_and_bytes(form, net, images, labels, exported):
    made = edgekit.export(
        net, inputs=(1, 1, 8, 8), device="pi4", formats="onnx", precision="int8", calibration=form(images, labels),
        evaluation=form(images, labels), metric=accuracy, **OPEN,
    )  # fmt: skip
    assert made.artifacts["onnx"].sha256 == exported.artifacts["onnx"].sha256
    assert made.to_json()["data"]["calibration"] == exported.to_json()["data"]["calibration"]
    assert made.checks["accuracy_drop"].value == exported.checks["accuracy_drop"].value
    assert made.to_json()["data"]["metric"] == "accuracy()"


def test_a_plan_is_carried_out_and_an_artifact_is_validated_gated_measured_and_compared(net, images, labels, tmp_path):
    data = {"calibration": images, "evaluation": (images, labels), "metric": "top1"}
    planned = edgekit.plan(net, device="pi4", formats="onnx", precision="int8", calibration=images)
    made = edgekit.export(net, plan=planned, output=tmp_path / "out", **data, **OPEN)
    assert made.artifacts["onnx"].precision == "int8-static"
    path = made.artifacts["onnx"].path
    assert path.parent == tmp_path / "out"
    validated = edgekit.validate(path, device="pi4", model=net, **data, **OPEN)
    assert validated.checks["accuracy_drop"].verdict == "pass"
    gated = edgekit.gate(tmp_path / "out", device="pi4", max_size="1 B", **OPEN)
    assert gated.passed is False
    with pytest.raises(VerdictError, match=r"^gate of .*out for pi4: not passed\.\n  onnx size .* exceeds 1 B by .*$"):
        gated.raise_if_failed()
    measured = edgekit.bench(path, runs=5, seconds=1.0, data=images.numpy())
    assert measured.measurement.latency.value_ms > 0
    again = edgekit.gate(tmp_path / "out", device="pi4", model=net, remeasure=True, without="evidence", **data)
    assert again.to_json()["command"] == "gate"
    assert "--without" in again.checks["evidence"].detail
    compared = edgekit.debug(path, model=net, inputs=images, calibration=images, samples=4)
    assert compared.report.layers
    with pytest.raises(UsageError, match=r"^evaluation has no effect without the float model that the artifact is "
                       r"compared with\. Give it too: model=\.\.\.$"):  # fmt: skip
        edgekit.debug(path, evaluation=(images, labels))
    assert edgekit.report(made) == tmp_path / "out" / "report.html"


class Broken(torch.nn.Module):
    """Cannot be captured: whoever reports something else has looked at that before."""

    def forward(self, image):
        raise RuntimeError("captured")


@pytest.mark.parametrize(
    "call",
    [
        lambda path, device, data: edgekit.plan(Broken(), device=device, **data),
        lambda path, device, data: edgekit.export(Broken(), device=device, **data),
        lambda path, device, data: edgekit.ladder(Broken(), device=device, **data),
        lambda path, device, data: edgekit.validate(path, model=Broken(), device=device, **data),
        lambda path, device, data: edgekit.gate(path, model=Broken(), device=device, **data),
        lambda path, device, data: edgekit.plan(Broken(), device=["pi4", device or "nothing"], **data),
    ],
    ids=["plan", "export", "ladder", "validate", "gate", "several"],
)
@pytest.mark.parametrize("device", ["pi44", None], ids=["unknown", "missing"])
def test_a_device_that_is_wrong_is_reported_before_the_model_is_captured(call, device, images, exported):
    with pytest.raises((UsageError, ProfileError), match=r"^No device is (named\. |called \")"):
        call(exported.artifacts["onnx"].path, device, {"calibration": images})


def test_a_plan_of_a_finished_file_says_whether_it_fits(exported):
    path = exported.artifacts["onnx"].path
    made = edgekit.plan(path, device="pi4", max_size="1 B")
    assert (made.plan, made.chosen, made.rejected) == (None, None, ())
    assert made.passed is False
    assert made.checks["size"].verdict == "fail"
    assert made.finished.artifacts["onnx"].sha256 == exported.artifacts["onnx"].sha256
    assert repr(made) == "<PlanOutcome plan for pi4: onnx int8-static: not passed>"
    assert made.to_json()["command"] == "plan"
    assert list(edgekit.plan(path, device=["pi4", "pi5"])) == ["pi4", "pi5"]
    with pytest.raises(UsageError, match=r"^plan is about a finished file: plan for pi4: onnx int8-static\. There is "
                       r"nothing to carry out\.$"):  # fmt: skip
        edgekit.export(Broken(), plan=made)
    kept = (
        r"its format and precision are what they are\. Leave formats, precision and output out, or give the float model"
    )
    with pytest.raises(UsageError, match=rf"^.* is a finished file: {kept} that it was made from\.$"):
        edgekit.plan(path, device="pi4", precision="int8")


def test_an_artifact_without_a_model_is_judged_on_data_in_memory(images, labels, exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = exported.artifacts["onnx"].path
    data = {"evaluation": (images, labels), "metric": accuracy, "min_accuracy": "50 %"}
    made = edgekit.validate(path, device="pi4", without=["evidence"], **data)
    assert made.checks["accuracy"].value > 50
    assert made.formats["onnx"].host["inputs"] == "image 1x1x8x8, from data in memory"
    assert edgekit.gate(path, device="pi4", **data).checks["accuracy"].value == made.checks["accuracy"].value
    alone = edgekit.validate(path, device="pi4", inputs=images)
    assert alone.formats["onnx"].host["inputs"] == "image 1x1x8x8, from data in memory"


def test_shapes_fix_the_sizes_that_a_file_leaves_free(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, "n")) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "free", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "n.onnx")
    sizes = {"inputs": {"x": (1, 16)}}
    made = edgekit.validate(tmp_path / "n.onnx", device="pi4", **sizes)
    assert made.formats["onnx"].host["inputs"] == "x 1x16, from --input; the values are made up"
    assert edgekit.bench(tmp_path / "n.onnx", runs=5, seconds=1.0, **sizes).measurement.latency.value_ms > 0
    assert edgekit.plan(tmp_path / "n.onnx", device="pi4", formats="onnx", **sizes).chosen.runtime == "onnx"
    model = onnx.load(tmp_path / "n.onnx")
    in_memory = edgekit.plan(model, device="pi4", formats="onnx", inputs={"x": ((1, 16), "float32")})
    assert in_memory.chosen.runtime == "onnx"
    with pytest.raises(UsageError, match=r'^inputs=\{"z": \(1, 16\)\}: n\.onnx has no input "z"; its inputs are x\.$'):
        edgekit.validate(tmp_path / "n.onnx", device="pi4", inputs={"z": (1, 16)})


def test_several_devices_give_a_report_each(net, images, labels, tmp_path):
    reported = []
    made = edgekit.export(
        net, device=["pi4", edgekit.devices("pixel8")[0]], formats="onnx", precision="fp32", inputs=images,
        output=tmp_path, progress=lambda stage, phrase, share: reported.append(stage), max_drop="90 pp",
    )  # fmt: skip
    assert list(made) == ["pi4", "pixel8"]
    assert made["pixel8"].artifacts["onnx"].path.parent == tmp_path / "pixel8"
    assert "onnx" in reported


TRAIN = """\
import torch

def batches(epoch):
    torch.manual_seed(epoch)
    for _ in range(2):
        x = torch.randn(32, 16)
        yield x, (x[:, :4]).argmax(1)

def loss(output, target):
    return torch.nn.functional.cross_entropy(output, target)
"""


def test_a_script_needs_no_guard_and_trains_on_what_it_has_in_memory(tmp_path):
    import subprocess
    import sys

    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "script.py").write_text(
        "import torch, edgekit, train\n"
        "torch.manual_seed(0)\n"
        "net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))\n"
        "x = torch.randn(64, 16); y = net(x).argmax(1)\n"
        "for training in (\n"
        "    {'batches': [(x[:32], y[:32]), (x[32:], y[32:])], 'loss': torch.nn.functional.cross_entropy},\n"
        "    {'batches': train.batches, 'loss': train.loss, 'epochs': 1},\n"
        "):\n"
        "    made = edgekit.export(net, device='pi4', formats='onnx', precision='fp32', techniques='qat',\n"
        "        inputs=(1, 16), calibration=x, evaluation=(x, y), metric='top1', max_drop='90 pp',\n"
        "        training=training)\n"
        "    print(made.errors or list(made.artifacts))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-2:] == ["['onnx']", "['onnx']"], done.stderr
