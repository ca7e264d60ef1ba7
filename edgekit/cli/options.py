"""The flags that verbs share, and how flags, environment, task file and profile become one request.

Precedence of every setting: flag, `EDGEKIT_*` environment, task file, profile. Each limit remembers which one set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from edgekit.budget import WAIVABLE
from edgekit.recipe import PRESETS

Model = Annotated[
    str | None,
    typer.Argument(
        help="model.py:build, module:build, net.pt2, net.onnx, net.keras, a SavedModel folder or net.tflite. "
        "Default: edgekit.toml here, else the embedded EfficientNet-Lite0.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", "-d", help="Device profile: a name, an alias or a TOML file.", show_default=False),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="Task file (default: edgekit.toml here).", show_default=False)
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        help="tflite, onnx, executorch, coreml, several with commas, or all that the device runs.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", "-p", help=f"One of {', '.join(PRESETS)}.", show_default=False)
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        "--calibration", help="Calibration data: data.py:function, .npz or a folder of images.", show_default=False
    ),
]
EvaluationOption = Annotated[
    str | None,
    typer.Option(
        "--evaluation", help="Evaluation data: data.py:function, .npz or a folder of images.", show_default=False
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option("--metric", help="top1, agreement, cosine, spearman or metrics.py:function.", show_default=False),
]
ExampleInputs = Annotated[
    str | None,
    typer.Option(
        "--example-inputs", help="model.py:function that returns a tuple of tensors at batch 1.", show_default=False
    ),
]
InputSizesOption = Annotated[
    list[str],
    typer.Option(
        "--input",
        help="Sizes of an input: image=1x3x224x224 or ids=1x128:int64; repeat for more inputs.",
        show_default=False,
    ),
]
MaxSize = Annotated[str | None, typer.Option("--max-size", help='Such as "6 MB".', show_default=False)]
MaxDownload = Annotated[
    str | None, typer.Option("--max-download", help='Deflated size, such as "5 MB".', show_default=False)
]
MaxMemory = Annotated[
    str | None, typer.Option("--max-memory", help='Peak memory, such as "64 MB".', show_default=False)
]
MaxLatency = Annotated[
    str | None, typer.Option("--max-latency", help='On the device, such as "30 ms".', show_default=False)
]
MaxDrop = Annotated[str | None, typer.Option("--max-drop", help='Accuracy drop, such as "1 pp".', show_default=False)]
MaxSliceDrop = Annotated[
    str | None, typer.Option("--max-slice-drop", help='Drop of the worst slice, such as "3 pp".', show_default=False)
]
MinParity = Annotated[
    str | None, typer.Option("--min-parity", help='SQNR against the float model, such as "20 dB".', show_default=False)
]
MinAccuracy = Annotated[
    str | None,
    typer.Option(
        "--min-accuracy", help='The artifact\'s own metric, such as "90 %"; needs no float model.', show_default=False
    ),
]
MinParityFloor = Annotated[
    str | None,
    typer.Option(
        "--min-parity-floor",
        help='SQNR of the worst output or channel against the converted model, such as "6 dB".',
        show_default=False,
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        help=f"Show a check without judging it: {', '.join(WAIVABLE)}; repeat for more.",
        show_default=False,
    ),
]
MinIntegerCoverage = Annotated[
    str | None,
    typer.Option("--min-integer-coverage", help='Work that runs in integers, such as "100 %".', show_default=False),
]
MinDelegateCoverage = Annotated[
    str | None,
    typer.Option("--min-delegate-coverage", help='Work on the fast CPU kernels, such as "95 %".', show_default=False),
]
MinAcceleratorCoverage = Annotated[
    str | None,
    typer.Option(
        "--min-accelerator-coverage",
        help='Work that the accelerator is predicted to take, such as "90 %".',
        show_default=False,
    ),
]
TechniqueOption = Annotated[
    list[str] | None,
    typer.Option(
        "--technique",
        "-t",
        help="What to do to the float model first, such as equalize or round_weights:method=gptq; repeat for more.",
        show_default=False,
    ),
]
EffortOption = Annotated[
    str,
    typer.Option(
        "--effort",
        help="quick: predict only. default: simulate on calibration data, measure every layer (minutes). "
        "thorough: export and validate the best few too.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the verdict.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print every check and note.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours (NO_COLOR does the same).")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do everything anew.")]
MaxRegression = Annotated[
    list[str],
    typer.Option("--max-regression", help='Against the baseline: "size +5 %", "accuracy -0.5 pp".', show_default=False),
]
Strict = Annotated[bool, typer.Option("--strict", help="Inconclusive checks and warnings fail too.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="Worker processes at a time; 0: one a core.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one worker process may take.")]
MemoryLimit = Annotated[
    str | None,
    typer.Option("--memory-limit", help='Memory that one worker process may take, such as "8 GB".', show_default=False),
]
MeasurementsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--measurements",
        help="Measurement file of edgekit bench from this device; may be given several times.",
        show_default=False,
    ),
]
IoOption = Annotated[str, typer.Option("--io", help="Inputs and outputs of the artifact: float or int8.")]


def limit_texts(
    max_size: str | None,
    max_download: str | None,
    max_memory: str | None,
    max_latency: str | None,
    max_drop: str | None,
    max_slice_drop: str | None = None,
    min_parity: str | None = None,
    min_integer_coverage: str | None = None,
    min_delegate_coverage: str | None = None,
    min_accelerator_coverage: str | None = None,
    min_parity_floor: str | None = None,
    min_accuracy: str | None = None,
) -> Mapping[str, str | None]:
    """Returns the texts of the limit flags under the names of their costs."""
    return {
        "size": max_size,
        "download": max_download,
        "memory": max_memory,
        "latency": max_latency,
        "accuracy": min_accuracy,
        "accuracy_drop": max_drop,
        "slice_drop": max_slice_drop,
        "parity": min_parity,
        "parity_floor": min_parity_floor,
        "integer_coverage": min_integer_coverage,
        "delegate_coverage": min_delegate_coverage,
        "accelerator_coverage": min_accelerator_coverage,
    }
