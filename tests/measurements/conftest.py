"""Measurements and files for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekit.measurements.latency_figures import figures_of
from edgekit.measurements.measurement import MeasuredArtifact, Measurement, MemoryFigures

DIGEST = "ab" * 32

TEXT = """\
STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/net.tflite]
#threads used for CPU inference: [4]
Loaded model /data/local/tmp/net.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
The input model file size (MB): 0.002
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=19 first=36301 curr=26106 min=25896 max=36301 avg=26800.4 std=2268

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=26116 curr=26104 min=25870 max=27313 avg=26160 std=200

Inference timings in us: Init: 17187, First inference: 36301, Warmup (avg): 26800.4, Inference (avg): 26160
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory \
footprint of the model at runtime. Take the information at your discretion.
Memory footprint delta from the start of the tool (MB): init=4.5 overall=46.25
"""
"""In the form that TensorFlow's sources print; the figures are made up."""


def _profile(**summary: Any) -> dict[str, Any]:
    facts = {
        "estimated_inference_time": 400,
        "estimated_inference_peak_memory": 20_000_000,
        "first_load_time": 300_000,
        "first_load_peak_memory": 15_000_000,
        "inference_memory_increase_range": [0, 1_000_000],
        "inference_memory_peak_range": [12_000, 21_000_000],
        "all_inference_times": [400 + i for i in range(100)],
    }
    layers = [
        {"name": "conv", "type": "CONV_2D", "compute_unit": "NPU", "execution_time": 300},
        {"name": "cast", "type": "CAST", "compute_unit": "CPU"},
    ]
    return {"execution_summary": facts | summary, "execution_detail": layers}


def _measurement(**changes: Any) -> Measurement:
    facts: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "device": "pi4",
        "host": "Raspberry Pi 4 Model B Rev 1.4, 4 cores, Linux aarch64",
        "place": "ssh://pi@board",
        "artifact": MeasuredArtifact(file="net.tflite", sha256=DIGEST, size_bytes=2000, runtime="tflite"),
        "engine": "ai-edge-litert 2.1.0",
        "threads": 4,
        "latency": figures_of([30.0 + i / 100 for i in range(100)]),
        "load_ms": 12.5,
        "memory": MemoryFigures(above_empty_bytes=20_000_000, peak_bytes=60_000_000, method="peak"),
    }
    return Measurement(**(facts | changes))


@pytest.fixture(scope="session")
def measurement() -> Callable[..., Measurement]:
    """Makes a measurement of the artifact `digest` on a pi4, with changes."""
    return _measurement


@pytest.fixture(scope="session")
def ai_hub_profile() -> Callable[..., dict[str, Any]]:
    """Makes a profile's JSON, with changes in its summary."""
    return _profile


@pytest.fixture(scope="session")
def printed() -> str:
    """What benchmark_model prints."""
    return TEXT


@pytest.fixture(scope="session")
def digest() -> str:
    return DIGEST
