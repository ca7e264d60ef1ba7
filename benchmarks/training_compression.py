"""What the techniques that train are worth: on a ResNet-20 trained on CIFAR-10 here, and on MLPerf Tiny's ResNet-8.

    EDGEKIT_TRAINED=DIR python benchmarks/training_compression.py [ROW ...] [--write]

Each row starts from an earlier one's model, trains, is converted to TFLite and judged in LiteRT on the 5,000 judging
images, which no row has trained on or chosen by. Latency is the median ratio of 300 timings in turn with the float
model on one core of this machine. Everything lies in EDGEKIT_TRAINED: a run that was interrupted goes on where it
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

from edgekit.sources.captured_file import open_captured

HERE = Path(__file__).parent
TASK = HERE / "tasks" / "cifar_resnet"
RESULTS = HERE / "results" / "training_compression.md"
sys.path.insert(0, str(TASK))

from data import calibration, images, raw, raw_calibration
from resnet import FOLDER

from edgekit.model import CapturedModel
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import convert
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.samples import Samples, write_samples
from edgekit.task.task import load_task
from edgekit.techniques.base import technique as find_technique


@dataclass(frozen=True)
class Row:
    """One row: a technique with its settings, applied to another row's model; "" converts that model as it is.

    With `unlabelled`, it learns from so many calibration pictures and what the float model makes of them, and from no
    label: what a task without [training] gets.
    """

    start: str
    technique: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    unlabelled: int = 0


STUDENT = {"student": "resnet.py:build_student", "width": 8, "depth": 1, "epochs": 8, "learning_rate": 0.1}
W4A8 = {"weight_bits": 4, "learning_rate": 0.002}
BASES = {"ResNet-20": "edgekit.toml", "ResNet-8": "resnet8.toml"}
"""Float models to start from, and their task files."""

ROWS = {
    "ResNet-20": Row("ResNet-20"),
    "ResNet-20 INT8": Row("ResNet-20", precision="int8_static"),
    "pruned": Row(
        "ResNet-20", "prune_channels", {"ratio": 0.49, "epochs": 8, "learning_rate": 0.08, "teacher_share": 0.0}
    ),
    "pruned INT8": Row("pruned", precision="int8_static"),
    "pruned W4A8": Row(
        "pruned", "qat", {"weight_bits": 4, "epochs": 2, "learning_rate": 0.002, "teacher_share": 0.0}, "int8_static"
    ),
    "factorized": Row("ResNet-20", "factorize", {"keep": 0.9}),
    "factorized, LoRA": Row("factorized", "lora_recovery", {"epochs": 1}),
    "ResNet-8": Row("ResNet-8"),
    "ResNet-8 INT8": Row("ResNet-8", precision="int8_static"),
    "ResNet-8 W4A8": Row(
        "ResNet-8", "qat", {"weight_bits": 4, "epochs": 4, "learning_rate": 0.002, "teacher_share": 0.9}, "int8_static"
    ),
    "ResNet-8 W4A8, 200 without labels": Row(
        "ResNet-8", "qat", {"weight_bits": 4, "learning_rate": 0.002, "teacher_share": 0.0}, "int8_static", 200
    ),
    "ResNet-8 W4A8, 2000 without labels": Row(
        "ResNet-8", "qat", {"weight_bits": 4, "learning_rate": 0.002, "teacher_share": 0.0}, "int8_static", 2000
    ),
    "student alone": Row("ResNet-20", "distill", {**STUDENT, "teacher_share": 0.0}),
    "student distilled": Row("ResNet-20", "distill", {**STUDENT, "teacher_share": 0.9, "temperature": 4.0}),
}


def base_of(name: str) -> str:
    """Returns the float model that a row goes back to."""
    return name if name in BASES else base_of(ROWS[name].start)


def tell(phrase: str, share: float | None = None) -> None:
    print(f"{time.strftime('%H:%M:%S')} {100 * (share or 0):5.1f} % {phrase}", flush=True)


def calibration_samples(base: str, count: int = 200) -> Samples:
    """Returns training images as the model takes them."""
    folder = FOLDER / (f"calibration-{base}" + ("" if count == 200 else f"-{count}"))
    if folder.exists():
        return Samples.open(folder)
    pixels = calibration(count=count) if base == "ResNet-20" else raw_calibration(count)
    return write_samples(folder, ["image"], pixels)


def base_model(base: str) -> CapturedModel:
    """Returns a trained float model, captured."""
    return capture_model(load_task(TASK / BASES[base]), Settings())


def model_of(name: str) -> CapturedModel:
    """Returns the model of a row, trained now or read."""
    from edgekit.techniques.base import Context
    from edgekit.techniques.unlabelled import imitation_data
    from edgekit.training.training_data import open_training

    row = ROWS[name]
    if not row.technique:
        return base_model(name) if name in BASES else model_of(row.start)
    folder = FOLDER / "rows" / name.replace(" ", "-")
    if not folder.exists():
        task = load_task(TASK / BASES[base_of(name)])
        assert task.training is not None
        started = time.process_time()
        base = base_of(name)
        samples = calibration_samples(base, row.unlabelled or 200)
        training = (
            imitation_data(samples, base_model(base), "logits")
            if row.unlabelled
            else open_training(task.training, task.base)
        )
        context = Context(
            samples=samples,
            scratch=FOLDER / "scratch" / folder.name,
            progress=tell,
            training=training,
            checkpoints=FOLDER / "checkpoints" / folder.name,
            base=task.base,
        )
        technique = find_technique(row.technique).from_settings(row.settings, "row")
        folder.parent.mkdir(parents=True, exist_ok=True)
        technique.run(model_of(row.start), context, folder)
        (folder / "effort.json").write_text(json.dumps({"cpu_seconds": time.process_time() - started}))
    return open_captured(folder)


def artifact_of(name: str) -> Path:
    """Returns a row's TFLite file."""
    recipe = Recipe(default=ROWS[name].precision)  # type: ignore[arg-type]  # the table has known ones
    return convert(model_of(name), "tflite", recipe, calibration_samples(base_of(name)), Settings()).artifact.path


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


def accuracy_of(path: Path, base: str) -> float:
    """Returns top-1 on the judging images, in percent."""
    pixels, labels = images("dev")
    pixels = pixels if base == "ResNet-20" else raw(pixels)
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


def line_of(name: str) -> str:
    """Returns a row of the table."""
    row, base, model = ROWS[name], base_of(name), model_of(name)
    path, reference = artifact_of(name), artifact_of(base)
    content = path.read_bytes()
    download, whole = (len(zlib.compress(item, 9)) for item in (content, reference.read_bytes()))
    effort = FOLDER / "rows" / name.replace(" ", "-") / "effort.json"
    seconds = f"{json.loads(effort.read_text())['cpu_seconds']:.0f} s" if effort.exists() else "-"
    settings = ", ".join(f"{key}={value}" for key, value in row.settings.items())
    cells = [
        name, row.start, f"{row.technique} {settings}".strip() or "-", row.precision,
        f"{accuracy_of(path, base):.2f} %", f"{(model.macs or 0) / 1e6:.1f} M", f"{model.parameters:,}",
        f"{len(content):,}", f"{download:,} ({whole / download:.1f} x)", f"{latency_ratio(path, reference):.2f}",
        seconds,
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
    rows = [merged[name] for name in ROWS if name in merged]
    RESULTS.write_text("\n".join(["# Techniques that train", "", *HEAD, *rows, ""]) + mark + notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--train", action="store_true", help="train only, measure nothing")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.train:
        for name in options.rows:
            model_of(name)
        return
    print("\n".join(HEAD))
    lines: list[str] = []
    for name in options.rows:
        lines.append(line_of(name))
        print(lines[-1], flush=True)
    if options.write:
        write_table(lines)


if __name__ == "__main__":
    main()
