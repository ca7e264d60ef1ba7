"""Predicted against real sizes: EfficientNet-Lite0 with its ImageNet weights, every format, every precision.

    python benchmarks/size_prediction.py [--formats tflite,onnx] [--precisions fp32,int8] [--write]

Captures the embedded default, predicts every artifact from the graph, converts it with the real converter, and prints
both. Every conversion is cached, so a second run is quick. `--write` puts the table into
`benchmarks/results/size_prediction.md`. Goals: size within 1 %, download within 5 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekit.analysis.graph import Analysis
from edgekit.converters.base import converter
from edgekit.errors import EdgekitError
from edgekit.model import CapturedModel
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.convert import convert
from edgekit.pipeline.samples import prepare_samples
from edgekit.pipeline.settings import Settings
from edgekit.planner.recipes import resolve_precision
from edgekit.predict.size import predict_size
from edgekit.registry import FORMATS
from edgekit.samples import Samples
from edgekit.task.task import default_task

HERE = Path(__file__).parent
PRECISIONS = ("fp32", "fp16", "int8-static", "int8-dynamic", "int8-weights", "int4")
HEADER = (
    "| format | precision | size, predicted | real | error | download, predicted | real | error |",
    "|---|---|---:|---:|---:|---:|---:|---:|",
)


def rows(
    model: CapturedModel,
    analysis: Analysis,
    samples: Samples | None,
    settings: Settings,
    formats: Sequence[str],
    precisions: Sequence[str],
) -> Iterator[str]:
    """Yields one row of the table for each format and precision."""
    for runtime in formats:
        for preset in precisions:
            recipe = resolve_precision(preset, analysis.family, runtime)
            reason = converter(runtime).why_not(model.kind, recipe)
            if reason is not None:
                yield f"| {runtime} | {preset} | refused: {reason} | | | | | |"
                continue
            size, download = predict_size(analysis, recipe, runtime)
            try:
                artifact = convert(model, runtime, recipe, samples, settings).artifact
            except EdgekitError as error:
                yield f"| {runtime} | {preset} | not converted: {error.message.splitlines()[0]} | | | | | |"
                continue
            cells = [
                *compare(size.value, artifact.size_bytes),
                *compare(download.value, artifact.download_bytes),
            ]
            yield f"| {runtime} | {preset} | {' | '.join(cells)} |"


def compare(predicted: float | None, real: int) -> tuple[str, str, str]:
    """Returns the three cells of one figure."""
    if predicted is None:
        return "not measured", f"{real:,}", ""
    return f"{predicted:,.0f}", f"{real:,}", f"{100 * (predicted / real - 1):+.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    settings = Settings()
    task = default_task(Path.cwd())
    model = capture_model(task, settings)
    analysis = analyze_model(model, settings)
    samples = prepare_samples(task, model.inputs, "calibration", settings)
    lines = list(HEADER)
    print("\n".join(HEADER))
    for row in rows(model, analysis, samples, settings, options.formats.split(","), options.precisions.split(",")):
        lines.append(row)
        print(row, flush=True)
    if options.write:
        (HERE / "results").mkdir(exist_ok=True)
        title = "# Predicted and real sizes of EfficientNet-Lite0, bytes"
        (HERE / "results" / "size_prediction.md").write_text(
            f"{title}\n\nWritten by `benchmarks/size_prediction.py --write`.\n\n" + "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
