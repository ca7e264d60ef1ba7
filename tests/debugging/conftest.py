"""A small CNN, captured as the sources capture models, and INT8 ONNX files of it with one fault or none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.model import CapturedModel, TensorSpec
from edgekit.samples import Samples, write_samples
from edgekit.sources.captured_file import write_captured


@dataclass(frozen=True)
class Small:
    """A captured model, its samples, its weights by name, and the range of each of its values."""

    captured: CapturedModel
    samples: Samples
    weights: dict[str, np.ndarray]
    ranges: dict[str, tuple[float, float]]


def _network() -> Any:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.third, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 10)
            self.clamp, self.rectify = nn.ReLU6(), nn.ReLU()
            # An outlier among the weights, which ReLU6 keeps out of the activations.
            self.second.weight.data[3] *= 40
            self.first.weight.data *= 3

        def forward(self, image: Any) -> Any:
            x = self.rectify(self.first(image))
            x = x + self.rectify(self.third(self.clamp(self.second(x))))
            return self.head(x.mean((2, 3)))

    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    import torch

    from edgekit.torch_program.canonical_program import canonical

    folder = tmp_path_factory.mktemp("small")
    model = _network()
    generator = torch.Generator().manual_seed(1)
    # Smooth pictures with three different channels, as photographs have: noise would hide what a layer does.
    coarse = torch.randn(12, 3, 4, 4, generator=generator) * torch.tensor([1.0, 0.6, 0.3])[:, None, None]
    images = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear") + torch.tensor(
        [0.2, 0.0, -0.3]
    ).reshape(1, 3, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = canonical(torch.export.export(model, (images[:1],)), (images[:1],), "small")
    torch.export.save(program, folder / "float.pt2")
    captured = CapturedModel(
        name="small",
        source="small.py:build",
        source_kind="torch",
        kind="pt2",
        path=folder / "float.pt2",
        inputs=(TensorSpec(name="image", shape=(1, 3, 16, 16), dtype="float32"),),
        outputs=(TensorSpec(name="output", shape=(1, 10), dtype="float32"),),
        digest="0" * 64,
        parameters=1,
        macs=None,
        family="cnn",
    )
    write_captured(captured, folder)
    samples = write_samples(folder / "samples", ["image"], ((images[i : i + 1].numpy(),) for i in range(12)))
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    return Small(captured=captured, samples=samples, weights=weights, ranges=_ranges(model, images))


def _ranges(model: Any, images: Any) -> dict[str, tuple[float, float]]:
    """Returns smallest and largest value of what the INT8 file puts onto grids."""
    import torch

    with torch.no_grad():
        first = torch.relu(model.first(images))
        second = model.clamp(model.second(first))
        third = torch.relu(model.third(second))
        added = first + third
        values = {
            "image": images,
            "first": first,
            "second": second,
            "third": third,
            "added": added,
            "pooled": added.mean((2, 3)),
            "output": model(images),
            "second_linear": model.second(first),
            "third_linear": model.third(second),
        }
    return {name: (min(0.0, float(v.min())), max(0.0, float(v.max()))) for name, v in values.items()}


@dataclass
class QuantizedFile:
    """An INT8 ONNX file of the small network, as it is written; each field is what a fault changes.

    Attributes:
        zero_point: Tensor to what is added to its zero point.
        read_zero_point: The same for the readers alone.
        widen: Tensor to a factor on its range.
        single_scale: Layers whose weights have one scale.
        without: Layers that lose their activation.
        order: Order of the input's channels, as the first layer reads them.
    """

    zero_point: dict[str, int] = field(default_factory=dict)
    read_zero_point: dict[str, int] = field(default_factory=dict)
    widen: dict[str, float] = field(default_factory=dict)
    single_scale: Sequence[str] = ()
    without: Sequence[str] = ()
    order: Sequence[int] = (0, 1, 2)

    def write(self, small: Small, path: Path) -> Path:
        import onnx
        from onnx import TensorProto, helper

        self._small, self._nodes, self._constants = small, [], []
        image = self._quantize("image", "image")
        first = self._layer("first", image, "Conv", "Relu", pads=[1, 1, 1, 1])
        second = self._layer("second", first, "Conv", "Clip", pads=[1, 1, 1, 1])
        third = self._layer("third", second, "Conv", "Relu")
        self._node("Add", [first, third], "added")
        self._node("ReduceMean", [self._quantize("added", "added")], "pooled", axes=[2, 3], keepdims=0)
        head = self._layer("head", self._quantize("pooled", "pooled"), "Gemm", None, transB=1)
        graph = helper.make_graph(
            self._nodes,
            "small",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
            [helper.make_tensor_value_info(head, TensorProto.FLOAT, [1, 10])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path

    def _layer(self, name: str, source: str, kind: str, activation: str | None, **attributes: Any) -> str:
        made = f"{name}_made" if activation or kind == "Gemm" else name
        weight = self._small.weights[f"{name}.weight"]
        if name == "first":
            weight = weight[:, list(self.order)]
        bias = self._constant(f"{name}_bias", self._small.weights[f"{name}.bias"])
        self._node(kind, [source, self._weight(name, weight), bias], made, **attributes)
        if kind == "Gemm":
            return self._quantize(made, "output")
        if name in self.without:
            return self._quantize(made, f"{name}_linear")
        limits = [self._constant(f"{name}_low", np.float32(0)), self._constant(f"{name}_high", np.float32(6))]
        self._node(activation or "", [made, *(limits if activation == "Clip" else [])], name)
        return self._quantize(name, name)

    def _weight(self, name: str, weight: np.ndarray) -> str:
        axes = tuple(range(1, weight.ndim))
        single = name in self.single_scale
        peaks = np.abs(weight).max() if single else np.abs(weight).max(axis=axes)
        scale = np.asarray(peaks / 127, np.float32)
        steps = np.rint(weight / (scale if single else scale.reshape(-1, *[1] * len(axes))))
        inputs = [
            self._constant(f"{name}_weight", steps.astype(np.int8)),
            self._constant(f"{name}_scale", scale),
            self._constant(f"{name}_zero", np.zeros(scale.shape, np.int8)),
        ]
        self._node("DequantizeLinear", inputs, f"{name}_real", **({} if single else {"axis": 0}))
        return f"{name}_real"

    def _quantize(self, value: str, name: str) -> str:
        """Puts a value onto the grid of the tensor `name` and returns what its readers read."""
        low, high = self._small.ranges[name]
        low, high = low * self.widen.get(name, 1.0), high * self.widen.get(name, 1.0)
        scale = (high - low) / 255
        zero = round(-low / scale) + self.zero_point.get(name, 0)
        step = self._constant(f"{value}_step", np.float32(scale))
        written = self._constant(f"{value}_zero_point", np.uint8(zero))
        read = self._constant(f"{value}_read_zero_point", np.uint8(zero + self.read_zero_point.get(name, 0)))
        self._node("QuantizeLinear", [value, step, written], f"{value}_stored")
        self._node("DequantizeLinear", [f"{value}_stored", step, read], f"{value}_read")
        return f"{value}_read"

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))


@pytest.fixture
def compare(small: Small, tmp_path: Path) -> Callable[[QuantizedFile], Any]:
    """Returns a function from a file to its debug report."""
    from edgekit.debugging.job import ComparisonRequest, run
    from edgekit.workers.worker import silent

    def made(file: QuantizedFile) -> Any:
        path = file.write(small, tmp_path / "small.onnx")
        request = ComparisonRequest(
            model=small.captured,
            source="small.py:build",
            artifact=path,
            runtime="onnx",
            precision="int8-static",
            samples=small.samples,
            samples_from="calibration",
            count=8,
            threads=1,
            metric="cosine",
            base=Path(),
        )
        return run(request, silent)

    return made


@pytest.fixture(scope="session")
def quantized_file() -> type[QuantizedFile]:
    """The class itself: test files cannot import from here."""
    return QuantizedFile
