"""What the techniques that train are worth, on a ResNet-20 that this benchmark trains on CIFAR-10 itself.

    EDGEKIT_TRAINED=DIR python benchmarks/training_compression.py [ROW ...] [--write]

Each row starts from an earlier one's model, trains, is converted to TFLite and judged in LiteRT on the 5,000 judging
images, which no row has trained on or chosen by. Latency is the median ratio of 300 timings in turn with the float
ResNet-20 on one core of this machine. Everything lies in EDGEKIT_TRAINED: a run that was interrupted goes on where it
stopped, and a row that is done is not trained again. Needs EDGEKIT_SHARED, and first the float model:
python benchmarks/tasks/cifar_resnet/train_base.py
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
TASK = HERE / "tasks" / "cifar_resnet"
RESULTS = HERE / "results" / "training_compression.md"
sys.path.insert(0, str(TASK))

from data import calibration, images
from resnet import FOLDER

from edgekit import registry
from edgekit.model import CapturedModel
from edgekit.pipeline import Settings, capture_model, convert
from edgekit.plan import Recipe
from edgekit.samples import Samples, write_samples
from edgekit.task import Task, load_task


@dataclass(frozen=True)
class Row:
    """One row: a technique with its settings, applied to another row's model ("" is the trained ResNet-20)."""

    start: str
    technique: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    note: str = ""


STUDENT = {"student": "resnet.py:build_student", "width": 8, "depth": 1, "epochs": 8, "learning_rate": 0.05}
ROWS = {
    "longer": Row("", "distill", {"student": "self", "teacher_share": 0.0, "epochs": 3, "learning_rate": 0.01},
                  note="control: the float model trained on for as long as the pruned one"),
    "pruned": Row("", "prune_channels", {"ratio": 0.49, "epochs": 3, "learning_rate": 0.02}),
    "student alone": Row("", "distill", {**STUDENT, "teacher_share": 0.0}),
    "student distilled": Row("", "distill", {**STUDENT, "teacher_share": 0.9, "temperature": 4.0}),
}  # fmt: skip


def tell(phrase: str, share: float | None = None) -> None:
    print(f"{time.strftime('%H:%M:%S')} {100 * (share or 0):5.1f} % {phrase}", flush=True)


def calibration_samples() -> Samples:
    """Returns 200 training images as samples."""
    folder = FOLDER / "calibration"
    return Samples.open(folder) if folder.exists() else write_samples(folder, ["image"], calibration())


def base_model(task: Task) -> CapturedModel:
    """Returns the trained ResNet-20, captured once."""
    return capture_model(task, Settings())


def model_of(name: str, task: Task) -> CapturedModel:
    """Returns the model of a row, trained now or read."""
    from edgekit.techniques.base import Context
    from edgekit.training.training_data import open_training

    if not name:
        return base_model(task)
    row = ROWS[name]
    folder = FOLDER / "rows" / name.replace(" ", "-")
    if not folder.exists():
        assert task.training is not None
        started = time.process_time()
        context = Context(
            samples=calibration_samples(),
            scratch=FOLDER / "scratch" / folder.name,
            progress=tell,
            training=open_training(task.training, task.base),
            checkpoints=FOLDER / "checkpoints" / folder.name,
            base=task.base,
        )
        technique = registry.technique(row.technique).from_settings(row.settings, "row")
        technique.run(model_of(row.start, task), context, folder)
        (folder / "effort.json").write_text(json.dumps({"cpu_seconds": time.process_time() - started}))
    return CapturedModel.from_json(json.loads((folder / "model.json").read_text()), folder)


def artifact_of(model: CapturedModel, precision: str) -> Path:
    """Returns the model's TFLite file."""
    made = convert(model, "tflite", Recipe(default=precision), calibration_samples(), Settings())  # type: ignore[arg-type]
    return made.artifact.path


def interpreter_of(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(str(path), num_threads=1)
    found.allocate_tensors()
    return found


def outputs_of(path: Path, rows: Any) -> Any:
    """Returns the outputs (N, 10) of a TFLite file for inputs (N, 3, 32, 32)."""
    runtime = interpreter_of(path)
    given, result = runtime.get_input_details()[0]["index"], runtime.get_output_details()[0]["index"]
    found: list[Any] = []
    for row in rows:
        runtime.set_tensor(given, row[None])
        runtime.invoke()
        found.append(runtime.get_tensor(result)[0].copy())
    return np.stack(found)


def accuracy_of(path: Path) -> float:
    """Returns top-1 on the judging images, in percent."""
    pixels, labels = images("dev")
    return 100 * float((outputs_of(path, pixels.numpy()).argmax(1) == labels.numpy()).mean())


def latency_ratio(path: Path, reference: Path, pairs: int = 300) -> float:
    """Returns the median ratio of timings in turn."""
    both = [interpreter_of(item) for item in (path, reference)]
    image = images("dev")[0][:1].numpy()
    times: list[list[float]] = [[], []]
    for pair in range(pairs + 20):
        for which, runtime in enumerate(both):
            runtime.set_tensor(runtime.get_input_details()[0]["index"], image)
            started = time.perf_counter()
            runtime.invoke()
            if pair >= 20:
                times[which].append(time.perf_counter() - started)
    return float(np.median(np.array(times[0]) / np.array(times[1])))


def line_of(name: str, task: Task) -> str:
    """Returns a row of the table."""
    base = base_model(task)
    model = model_of(name, task)
    row = ROWS.get(name, Row("", "-"))
    path, reference = artifact_of(model, row.precision), artifact_of(base, "fp32")
    content = path.read_bytes()
    download, whole = (len(zlib.compress(item, 9)) for item in (content, reference.read_bytes()))
    effort = FOLDER / "rows" / name.replace(" ", "-") / "effort.json"
    seconds = f"{json.loads(effort.read_text())['cpu_seconds']:.0f} s" if effort.exists() else "-"
    settings = ", ".join(f"{key}={value}" for key, value in row.settings.items())
    cells = [
        name or "ResNet-20", row.start or "ResNet-20", f"{row.technique} {settings}".strip(), row.precision,
        f"{accuracy_of(path):.2f} %", f"{(model.macs or 0) / 1e6:.1f} M", f"{model.parameters:,}", f"{len(content):,}",
        f"{download:,} ({whole / download:.1f} x)", f"{latency_ratio(path, reference):.2f}", seconds,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


COLUMNS = ("row", "from", "technique", "precision", "top-1", "MACs", "weights", "bytes", "download", "latency", "CPU")
HEAD = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]


def write_table(lines: list[str]) -> None:
    """Replaces these lines in the results; other lines and the notes under the table stay."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    table, mark, notes = text.partition("\n## ")
    old = [line for line in table.splitlines() if line.startswith("| ") and line not in HEAD]
    merged = {line.split("|")[1].strip(): line for line in (*old, *lines)}
    order = ["ResNet-20", *ROWS]
    rows = [merged[name] for name in order if name in merged]
    RESULTS.write_text("\n".join(["# Techniques that train", "", *HEAD, *rows, ""]) + mark + notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=["ResNet-20", *ROWS], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--train", action="store_true", help="train only, measure nothing")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    task = load_task(TASK / "edgekit.toml")
    names = [name.replace("ResNet-20", "") for name in options.rows]
    if options.train:
        for name in names:
            model_of(name, task)
        return
    print("\n".join(HEAD))
    lines: list[str] = []
    for name in names:
        lines.append(line_of(name, task))
        print(lines[-1], flush=True)
    if options.write:
        write_table(lines)


if __name__ == "__main__":
    main()
