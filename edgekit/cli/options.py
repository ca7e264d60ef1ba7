"""The options that commands share, declared once: a command takes a group as one parameter (see `flat`).

Precedence of every setting: flag, `EDGEKIT_*` environment, task file, profile. Each limit remembers which one set it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Final, final, get_type_hints

import typer

from edgekit.budget import WAIVABLE
from edgekit.cli.completion import (
    complete_device,
    complete_effort,
    complete_format,
    complete_precision,
    complete_preference,
    complete_technique,
)
from edgekit.recipe import PRESETS

MODEL_AND_DATA: Final = "Model and data"
BUDGET: Final = "Budget"
CHOICE: Final = "What is made"
OUTPUT: Final = "Output"
RUNNING: Final = "Running"
PANELS: Final = (MODEL_AND_DATA, CHOICE, BUDGET, OUTPUT, RUNNING)
"""Headings of a command's help, in order."""


def option(panel: str, *names: str, help: str, **rest: Any) -> Any:  # noqa: A002  Typer's name
    """Returns an option under a heading of the command's help; a default that is nothing is not shown."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=rest.pop("show_default", False), **rest)


Model = Annotated[
    str | None,
    typer.Argument(
        help="model.py:build, module:build, net.pt2, TorchScript (net.pt, net.ptl), net.onnx, net.keras, a SavedModel "
        "folder, net.pb or net.tflite. "
        "Default: edgekit.toml here, else the embedded EfficientNet-Lite0.",
        show_default=False,
    ),
]
FloatModel = Annotated[
    str | None, option(MODEL_AND_DATA, "--model", "-m", help="The float model to compare with, named as for export.")
]
Inputs = Annotated[
    list[str] | None,
    option(
        MODEL_AND_DATA, "--input",
        help="Sizes of an input: image=1x3x224x224 or ids=1x128:int64; repeat for more inputs.",
    ),
]  # fmt: skip
Dimensions = Annotated[
    list[str] | None,
    option(
        MODEL_AND_DATA, "--dimension",
        help="A size that stays open, which --input names: length=1..512 or height=128..1024,multiple_of=32; repeat.",
    ),
]  # fmt: skip
SplitOutputs = Annotated[
    bool, option(MODEL_AND_DATA, "--split-outputs", help="Make each member of a joined output an output of its own.")
]
ExampleInputs = Annotated[
    str | None,
    option(MODEL_AND_DATA, "--example-inputs", help="model.py:function that returns a tuple of tensors at batch 1."),
]
Artifact = Annotated[Path, typer.Argument(help="A .tflite, .onnx, .pte file or an .mlpackage folder.")]
Device = Annotated[
    str | None,
    option(
        MODEL_AND_DATA, "--device", "-d", help="Device profile: a name, an alias or a TOML file.",
        autocompletion=complete_device,
    ),
]  # fmt: skip
Config = Annotated[
    Path | None, option(MODEL_AND_DATA, "--config", "-c", help="Task file (default: edgekit.toml here).")
]
Signature = Annotated[
    str | None,
    option(
        MODEL_AND_DATA, "--signature",
        help="Which function of a file that has several: a TFLite signature, a .pte method, a Core ML function.",
    ),
]  # fmt: skip
Metric = Annotated[
    str | None,
    option(MODEL_AND_DATA, "--metric", help="A metric such as top1, agreement or map50, or metrics.py:function."),
]
Format = Annotated[
    list[str] | None,
    option(
        CHOICE, "--format", "-f", autocompletion=complete_format,
        help="tflite, onnx, executorch, coreml, several with commas, or all that the device runs; repeat for more.",
    ),
]  # fmt: skip
Precision = Annotated[
    str | None,
    option(CHOICE, "--precision", "-p", help=f"One of {', '.join(PRESETS)}.", autocompletion=complete_precision),
]
Technique = Annotated[
    list[str] | None,
    option(
        CHOICE, "--technique", "-t", autocompletion=complete_technique,
        help="What to do to the float model first, such as equalize or round_weights:method=gptq; repeat for more.",
    ),
]  # fmt: skip
Effort = Annotated[
    str,
    option(
        CHOICE, "--effort", show_default=True, autocompletion=complete_effort,
        help="quick: predict only. default: simulate on calibration data, measure every layer (minutes). "
        "thorough: bring integers nearer to the float model, export and validate the best few too.",
    ),
]  # fmt: skip
Prefer = Annotated[
    str | None,
    option(
        CHOICE, "--prefer", autocompletion=complete_preference,
        help="Among plans that fit: accuracy, size, speed, or balanced (the default: what is smaller and faster, where "
        "what it loses does not show).",
    ),
]  # fmt: skip
Io = Annotated[
    str, option(CHOICE, "--io", help="Inputs and outputs of the artifact: float or int8.", show_default=True)
]
ImageInput = Annotated[
    bool | None,
    option(
        CHOICE, "--image-input/--no-image-input",
        help="Artifacts take pixels and do [data.preprocessing] themselves, as MediaPipe and Vision want it "
        "(default: on phones where the task file has that table).",
    ),
]  # fmt: skip
MaxRegression = Annotated[
    list[str], option(BUDGET, "--max-regression", help='Against the baseline: "size +5 %", "accuracy -0.5 pp".')
]
Measurements = Annotated[
    list[Path] | None,
    option(
        MODEL_AND_DATA, "--measurements",
        help="Measurement file of edgekit bench from this device; may be given several times.",
    ),
]  # fmt: skip
Without = Annotated[
    list[str] | None,
    option(BUDGET, "--without", help=f"Show a check without judging it: {', '.join(WAIVABLE)}, several with commas."),
]
Strict = Annotated[bool, option(BUDGET, "--strict", help="Inconclusive checks and warnings fail too.")]
Verbose = Annotated[bool, option(OUTPUT, "--verbose", "-v", help="Print every check and note.")]
Json = Annotated[bool, option(OUTPUT, "--json", help="Write JSON to stdout, and nothing else there.")]
Quiet = Annotated[bool, option(OUTPUT, "--quiet", "-q", help="Print only the verdict.")]
NoColor = Annotated[bool, option(OUTPUT, "--no-color", help="No colours (NO_COLOR does the same).")]
NoCache = Annotated[bool, option(RUNNING, "--no-cache", help="Do everything anew.")]
Jobs = Annotated[
    int, option(RUNNING, "--jobs", "-j", min=0, show_default=True, help="Worker processes at a time; 0: one a core.")
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where calibration data, evaluation data and example inputs come from, and the sizes of free inputs."""

    calibration: Annotated[
        str | None,
        option(MODEL_AND_DATA, "--calibration", help="Calibration data: data.py:function, .npz or a folder of images."),
    ] = None
    evaluation: Annotated[
        str | None,
        option(MODEL_AND_DATA, "--evaluation", help="Evaluation data: data.py:function, .npz or a folder of images."),
    ] = None
    example_inputs: ExampleInputs = None
    inputs: Inputs = None

    def overrides(self, metric: str | None = None) -> dict[str, str | None]:
        """Returns the task's fields and the texts that take their place."""
        return {
            "calibration": self.calibration,
            "evaluation": self.evaluation,
            "metric": metric,
            "example_inputs": self.example_inputs,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on what the artifact may cost."""

    max_size: Annotated[str | None, option(BUDGET, "--max-size", help='Such as "6 MB".')] = None
    max_download: Annotated[str | None, option(BUDGET, "--max-download", help='Deflated size, such as "5 MB".')] = None
    max_memory: Annotated[str | None, option(BUDGET, "--max-memory", help='Peak memory, such as "64 MB".')] = None
    max_latency: Annotated[str | None, option(BUDGET, "--max-latency", help='On the device, such as "30 ms".')] = None
    max_drop: Annotated[str | None, option(BUDGET, "--max-drop", help='Accuracy drop, such as "1 pp".')] = None
    max_slice_drop: Annotated[
        str | None, option(BUDGET, "--max-slice-drop", help='Drop of the worst slice, such as "3 pp".')
    ] = None
    min_parity: Annotated[
        str | None, option(BUDGET, "--min-parity", help='SQNR against the float model, such as "20 dB".')
    ] = None
    min_accuracy: Annotated[
        str | None,
        option(BUDGET, "--min-accuracy", help='The artifact\'s own metric, such as "90 %"; needs no float model.'),
    ] = None
    min_parity_floor: Annotated[
        str | None,
        option(
            BUDGET, "--min-parity-floor",
            help='SQNR of the worst output or channel against the converted model, such as "6 dB".',
        ),
    ] = None  # fmt: skip
    min_integer_coverage: Annotated[
        str | None, option(BUDGET, "--min-integer-coverage", help='Work that runs in integers, such as "100 %".')
    ] = None
    min_delegate_coverage: Annotated[
        str | None, option(BUDGET, "--min-delegate-coverage", help='Work on the fast CPU kernels, such as "95 %".')
    ] = None
    min_accelerator_coverage: Annotated[
        str | None,
        option(
            BUDGET, "--min-accelerator-coverage",
            help='Work that the accelerator is predicted to take, such as "90 %".',
        ),
    ] = None  # fmt: skip

    def texts(self) -> Mapping[str, str | None]:
        """Returns the limits' texts under the names of their costs."""
        return {
            "size": self.max_size,
            "download": self.max_download,
            "memory": self.max_memory,
            "latency": self.max_latency,
            "accuracy": self.min_accuracy,
            "accuracy_drop": self.max_drop,
            "slice_drop": self.max_slice_drop,
            "parity": self.min_parity,
            "parity_floor": self.min_parity_floor,
            "integer_coverage": self.min_integer_coverage,
            "delegate_coverage": self.min_delegate_coverage,
            "accelerator_coverage": self.min_accelerator_coverage,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Limits of each worker process, and the cache that a team shares."""

    timeout: Annotated[
        float,
        option(RUNNING, "--timeout", min=1, show_default=True, help="Seconds that one worker process may take."),
    ] = 1800.0
    memory_limit: Annotated[
        str | None,
        option(RUNNING, "--memory-limit", help='Memory that one worker process may take, such as "8 GB".'),
    ] = None
    shared_cache: Annotated[
        str | None,
        option(
            RUNNING,
            "--cache",
            help="A cache that a team shares, such as s3://bucket/prefix or a folder.",
            metavar="URL",
        ),
    ] = None
    cache_write: Annotated[
        bool, option(RUNNING, "--cache-write", help="Put into the shared cache what is made here, as CI does.")
    ] = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What is printed, and how."""

    as_json: Json = False
    quiet: Quiet = False
    no_color: NoColor = False

    @property
    def shows_progress(self) -> bool:
        """Whether a person watches."""
        return not (self.quiet or self.as_json)


def joined(formats: Sequence[str] | None) -> str | None:
    """Returns the formats of all --format options as one text, None where none was given."""
    return ",".join(formats) if formats else None


def flat(command: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `command` with the fields of each parameter that is a group (a dataclass) as options of its own.

    Typer reads a function's signature, and knows no groups: this writes the signature that it must read.
    """
    declared = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in declared if is_dataclass(p.annotation)}
    parameters: list[inspect.Parameter] = []
    for parameter in declared:
        if parameter.name not in groups:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(parameter.annotation, include_extras=True)
        parameters += [
            inspect.Parameter(f.name, parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
            for f in fields(parameter.annotation)
        ]

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        made = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        return command(**given, **made)

    signature = inspect.Signature(parameters)
    run.__dict__["__signature__"] = signature
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
