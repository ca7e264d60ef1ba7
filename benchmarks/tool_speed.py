"""What the tool itself costs, before a change and after it, in turn: the gate, and the Core ML evaluator.

    git worktree add ../before COMMIT
    python benchmarks/tool_speed.py --export FOLDER --before ../before [--rounds 5] [--write]

FOLDER is what `edgekit export --device pi4 -f tflite,onnx,executorch,coreml --precision int8` wrote of the embedded
default model. CPU time stands beside wall time because other processes share the machine. The evaluator's time is of
one picture, one thread, after a first run; below the table stands how far the outputs of the two checkouts differ.
`--write` puts the table into `benchmarks/results/tool_speed.md`. Needs no data.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
PICTURES = 8
EVALUATE = """
import json, sys, time
import numpy as np
from edgekit.validators.runners.coreml_session import Runtime
session = Runtime("", "evaluator", 1).open(sys.argv[1])
shape = [1 if size == -1 else size for size in session.inputs[0]["shape"]]
rows = np.random.default_rng(0).uniform(-2, 2, (int(sys.argv[2]), *shape)).astype(session.inputs[0]["dtype"])
session.run([rows[0]])
wall, cpu = time.perf_counter(), time.process_time()
made = [session.run([row])[0] for row in rows]
print(json.dumps({
    "wall": (time.perf_counter() - wall) / len(rows),
    "cpu": (time.process_time() - cpu) / len(rows),
}))
np.save(sys.argv[3], np.stack(made).astype(np.float64))
"""


def measured(command: list[str], checkout: Path, cache: Path) -> tuple[float, float, str]:
    """Returns (wall seconds, CPU seconds, stdout) of a command that imports edgekit from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "EDGEKIT_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    before, started = os.times(), time.monotonic()
    done = subprocess.run(command, env=environment, cwd=cache, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - started, os.times()
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu, done.stdout


def difference(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """Returns how far the evaluator's outputs are from what they were, a sentence."""
    if np.array_equal(before, after):
        return "Evaluator: the same bits."
    decibels = 10 * np.log10(np.square(before).sum() / np.square(before - after).sum())
    kept = int((before.argmax(axis=-1) == after.argmax(axis=-1)).sum())
    return f"Evaluator: {decibels:.1f} dB between the outputs; {kept} of {len(before)} decisions are the same."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    folder = options.export.resolve()
    package = next(folder.glob("*.mlpackage"))
    checkouts = {"before": options.before.resolve(), "after": HERE.parent.resolve()}
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    outputs: dict[str, NDArray[np.float64]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        gate = [sys.executable, "-m", "edgekit", "gate", str(folder), "-d", "pi4", "-q"]
        evaluate = [sys.executable, "-c", EVALUATE, str(package), str(PICTURES)]
        made_file = Path(temporary) / "outputs.npy"
        for round_ in range(options.rounds + 1):
            for name, checkout in checkouts.items():
                cache = Path(temporary) / name
                cache.mkdir(exist_ok=True)
                wall, cpu, _ = measured(gate, checkout, cache)
                # The first gate of these bytes fills the cache, and compiles the checkout's modules.
                times.setdefault(("gate, first" if round_ == 0 else "gate", name), []).append((wall, cpu))
                if round_:
                    made = json.loads(measured([*evaluate, str(made_file)], checkout, cache)[2])
                    times.setdefault(("evaluator, a picture", name), []).append((made["wall"], made["cpu"]))
                    outputs[name] = np.load(made_file)
    lines = ["| what | before: wall, CPU | after: wall, CPU | ratio of CPU |", "|---|---|---|---|"]
    for what in ("gate, first", "gate", "evaluator, a picture"):
        found = [[statistics.median(pair[i] for pair in times[what, name]) for i in (0, 1)] for name in checkouts]
        cells = " | ".join(f"{wall:.3f} s, {cpu:.3f} s" for wall, cpu in found)
        lines.append(f"| {what} | {cells} | {found[1][1] / found[0][1]:.2f} |")
    lines += ["", f"{difference(outputs['before'], outputs['after'])} Load at the end: {os.getloadavg()[0]:.1f}."]
    print("\n".join(lines))
    if options.write:
        text = "# Speed of the tool itself\n\nOutput of `benchmarks/tool_speed.py` (its head says how; two cores).\n\n"
        (HERE / "results" / "tool_speed.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
