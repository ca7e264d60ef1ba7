"""Killed before any of its file operations or at any moment, a process leaves nothing half-written, and the next one
tidies up. Hundreds of kills are run by `benchmarks/kills.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
KILL = Path(__file__).with_name("kill_at_write_points.py")


@pytest.mark.parametrize("work", ["Package", "PackageInTwoSteps", "File", "Entry", "EntryAnew"])
def test_a_kill_before_any_file_operation_leaves_nothing_half_written(tmp_path: Path, work: str) -> None:
    command = [sys.executable, str(KILL), str(tmp_path), work]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["wrong"] == []
    assert found["points"] >= 5


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A folder with a network of 245 weights, and its data, in `ground`."""
    onnx = pytest.importorskip("onnx")
    random = np.random.default_rng(0)
    weights = {"w": random.standard_normal((48, 5)).astype("f4"), "b": np.zeros(5, "f4")}
    nodes = [onnx.helper.make_node("Flatten", ["x"], ["f"]), onnx.helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 4, 4]), ("y", [1, 5]))
    ]
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = onnx.helper.make_graph(nodes, "net", values[:1], values[1:], stored)
    folder = tmp_path / "kills" / "ground"
    folder.mkdir(parents=True)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    inputs = random.standard_normal((24, 3, 4, 4)).astype("f4")
    np.savez(folder / "cal.npz", x=inputs)
    np.savez(folder / "eval.npz", x=inputs, targets=(inputs.reshape(24, -1) @ weights["w"]).argmax(1))
    return folder.parent


@pytest.mark.runtime
def test_a_kill_of_an_export_at_any_moment_leaves_nothing_wrong(ground: Path) -> None:
    campaign = [sys.executable, str(HERE / "killing" / "campaign.py"), "--ground", str(ground), "--victims", "export"]
    ran = subprocess.run(
        [*campaign, "--seed", "4", "--cases", "5", "--forked"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"n"')]
    assert [one for one in found if one["wrong"]] == []
    assert len(found) == 5
    assert {one["code"] for one in found} >= {-9, 130}


PLANTED = """
import os, signal, sys, time
sys.path[:0] = [{here!r}, {root!r}]
from pathlib import Path
from killing import kill
from killing.victims import Victim
from fuzzing.forked_run import enter

kill.GONE_WITHIN_S = 0.3
kill.adopt_orphans()
root = Path({folder!r})
(root / "ground" / "ground").mkdir(parents=True)

def start(arguments, place):
    pid = os.fork()
    if pid:
        return pid
    enter(place)
    is_killed = place.name == "killed" and not Path("again").exists()
    if is_killed:
        Path("again").touch()
        if not os.fork():
            time.sleep(60)
            os._exit(0)
        print("edgekit\\nTraceback (most recent call last)", flush=True)
        Path("made").write_text("ha")
        (place / "cache" / "kind" / "key").mkdir(parents=True)
        (place / "tmp" / "x").touch()
        time.sleep(60)
    Path("made").write_text("half" if place.name == "killed" else "whole")
    os._exit(3 if place.name == "killed" else 0)

victim = Victim(arguments=(), writes=("made",))
known = kill.observe(start, victim, root / "ground", root / "seen")
found = kill.kill(
    start, victim, known, root / "ground", root / "killed", after_s=1.0, number=signal.SIGTERM, to="parent"
)
print("\\n".join(found.wrong))
"""


def test_the_oracle_sees_what_it_must(tmp_path: Path) -> None:
    code = PLANTED.format(here=str(HERE), root=str(HERE.parents[1]), folder=str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "edgekit\nTraceback (most recent call last)\n"
    assert ran.stdout == (
        "processes are left after 0 s\n"
        f"a traceback: {said}\n"
        f"exit code -15 after SIGTERM: {said}\n"
        "made (2 bytes) differs from an undisturbed run's\n"
        "cache entry kind/key: its list of digests cannot be read\n"
        "left behind: tmp/x\n"
        "the next run ends with 3: \n"
        "the next run: made (4 bytes) differs from an undisturbed run's\n"
        "the next run: cache entry kind/key: its list of digests cannot be read\n"
        "left behind after the next run: tmp/x\n"
    )
