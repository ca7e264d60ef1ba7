"""Models with states through the real converters and runtimes: carried from call to call, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]

torch = pytest.importorskip("torch")
OPEN = {"max_drop": "90 pp", "max_slice_drop": "90 pp", "max_latency": "9 s"}
CALLS, SEQUENCES = 18, 3


class Decoder(torch.nn.Module):
    """One step of attention over a cache in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = torch.nn.Embedding(9, 8), torch.nn.Linear(8, 9)
        self.key, self.value = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
        self.register_buffer("keys", torch.zeros(1, 20, 8))
        self.register_buffer("values", torch.zeros(1, 20, 8))

    def forward(self, token: Any, position: Any) -> Any:
        x = self.table(token)
        self.keys.index_copy_(1, position, self.key(x))
        self.values.index_copy_(1, position, self.value(x))
        seen = torch.arange(20)[None, None] <= position
        weights = (x @ self.keys.transpose(1, 2)).masked_fill(~seen, -1e4).softmax(-1)
        return self.head(weights @ self.values)


class Filter(torch.nn.Module):
    """A causal convolution with a ring buffer, and a running mean over its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = torch.nn.Conv1d(3, 8, 4), torch.nn.Linear(8, 4)
        self.register_buffer("ring", torch.zeros(1, 3, 3))
        self.register_buffer("mean", torch.ones(8))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Any) -> Any:
        joined = torch.cat([self.ring, x], 2)
        self.ring.copy_(joined[:, :, -3:])
        y = torch.relu(self.conv(joined))
        self.count += 1
        self.mean += (y.mean((0, 2)) - self.mean) / self.count
        return self.head(y.mean(2) + self.mean)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    patch.chdir(tmp_path_factory.mktemp("work"))
    patch.delenv("EDGEKIT_DEVICE", raising=False)
    yield
    patch.undo()


def sequences(kind: str, seed: int):
    numbers = np.random.default_rng(seed)
    for _ in range(SEQUENCES):
        for i in range(CALLS):
            if kind == "decoder":
                yield numbers.integers(0, 9, (1, 1)), np.array([i])
            else:
                yield (numbers.standard_normal((1, 3, 5)).astype(np.float32),)
        yield None


def exported(kind: str, runtime: str, precision: str, output: Path):
    torch.manual_seed(0)
    model = (Decoder() if kind == "decoder" else Filter()).eval()
    example = next(sequences(kind, 0))
    return edgekit.export(
        model,
        inputs=tuple(map(torch.from_numpy, example)),
        device="iphone15",
        formats=runtime,
        precision=precision,
        calibration=lambda: sequences(kind, 1),
        evaluation=lambda: (item if item is None else (item, 0) for item in sequences(kind, 2)),
        metric="cosine",
        output=output,
        prefer="accuracy",
        **OPEN,
    )


@pytest.mark.parametrize(
    ("kind", "runtime", "precision", "held", "least_db"),
    [
        ("decoder", "tflite", "fp32", False, 90),
        ("decoder", "onnx", "fp32", False, 90),
        ("decoder", "executorch", "fp32", True, 90),
        ("decoder", "coreml", "fp16", True, 45),
        ("filter", "tflite", "int8", False, 15),
        ("filter", "onnx", "int8", False, 15),
        ("filter", "executorch", "int8", True, 15),
        ("filter", "coreml", "fp32", False, 90),
    ],
)
def test_states_are_carried_over_whole_sequences(tmp_path, kind, runtime, precision, held, least_db):
    report = exported(kind, runtime, precision, tmp_path)
    artifact = report.artifacts[runtime]
    data = report.to_json()["data"]["evaluation"]
    assert (data["sequences"], data["longest_sequence"]) == (SEQUENCES, CALLS)
    assert report.checks["parity"].value > least_db
    states = artifact.to_json()["states"]
    assert [state["held"] for state in states] == [held] * (2 if kind == "decoder" else 3)
    names = {spec["name"] for spec in artifact.to_json()["inputs"]}
    assert all((state["input"] in names) is not held for state in states)
