"""The export of EfficientNet-Lite0 to all four formats at INT8 against four bare conversion scripts, in one run.

    python benchmarks/conversion_time.py [--rounds 2] [--write]

Both start from nothing (no cache), both calibrate on the same 100 photographs; the two are run in turn, because a
shared machine's speed drifts. Validation is not counted: edgekit's time is from start to the last artifact. `--write`
puts the table into `benchmarks/results/conversion_time.md`. Needs EDGEKIT_SHARED (see README.md).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
FORMATS = ("onnx", "tflite", "executorch", "coreml")
CONVERT = """
import sys
from pathlib import Path
from edgekit.workers.cache import Cache
from edgekit.task.request import make_request
from edgekit.trials.choice import choose
from edgekit.exporting.export import convert_candidates
from edgekit.exporting.inputs import read_inputs
from edgekit.pipeline.settings import Settings, default_jobs
from edgekit.pipeline.capture import capture_model
from dataclasses import replace

FOUR = "tflite,onnx,executorch,coreml"
request = make_request(model=None, device="pi4", config=Path(sys.argv[1]), formats=FOUR, precision="int8", limits={})
settings = Settings(cache=Cache(root=Path(sys.argv[2])), jobs=default_jobs())
task = replace(request.task, evaluation=None)
model = capture_model(task, settings)
candidates = choose(request, model, "quick", settings).candidates
inputs = read_inputs(task, [c.runtime for c in candidates], settings, model=model)
made = convert_candidates(inputs, candidates, settings, "float", lambda stage, phrase: None)
failed = [outcome for outcome in made if isinstance(outcome, Exception)]
sys.exit(f"failed: {failed}" if failed else 0)
"""
"""`edgekit export` without its validation: the same functions in the same order."""


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Runs a command and returns (wall seconds, CPU seconds of it and its children)."""
    before, started = os.times(), time.monotonic()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - started, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    config = HERE / "tasks/efficientnet_lite0/edgekit.toml"
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (*FORMATS, "edgekit")}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as out:
            for name in FORMATS:
                times[name].append(timed([sys.executable, str(HERE / f"bare/bare_{name}.py"), out], environment))
            times["edgekit"].append(timed([sys.executable, "-c", CONVERT, str(config), f"{out}/cache"], environment))
    lines = ["| what | wall s | CPU s |", "|---|---|---|"]
    medians = {name: [statistics.median(pair[i] for pair in pairs) for i in (0, 1)] for name, pairs in times.items()}
    lines += [f"| bare {name} | {medians[name][0]:.1f} | {medians[name][1]:.1f} |" for name in FORMATS]
    total = [sum(medians[name][i] for name in FORMATS) for i in (0, 1)]
    ours = medians["edgekit"]
    lines += [
        f"| the four, one after another | {total[0]:.1f} | {total[1]:.1f} |",
        f"| edgekit, all four | {ours[0]:.1f} | {ours[1]:.1f} |",
        f"| ratio | {ours[0] / total[0]:.2f} | {ours[1] / total[1]:.2f} |",
    ]
    print("\n".join(lines))
    if options.write:
        text = (
            "# Conversion time\n\n"
            f"Output of `python benchmarks/conversion_time.py --rounds {options.rounds}` (medians of the rounds; "
            "wall-clock and CPU seconds, one thread a process, 2 shared cores).\n\n"
        )
        (HERE / "results" / "conversion_time.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
