"""Sound artifacts of the networks in `tasks/soundness`, of all techniques and precisions, and how they are judged.

Used by `soundness.py`. An artifact is made by the functions that `edgekit export` calls, and judged by those that
`edgekit validate` calls; only timings and memory are left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.artifact import Artifact, measure_files
from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.errors import EdgekitError
from edgekit.exporting.export import convert_candidates
from edgekit.exporting.inputs import Inputs, read_inputs
from edgekit.exporting.judge import judge_evidence, what_was_requested, with_float_model
from edgekit.model import CapturedModel
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import apply_techniques
from edgekit.recipe import Candidate, Recipe
from edgekit.task.request import parse_technique
from edgekit.task.task import load_task
from edgekit.validators.base import Evidence
from edgekit.validators.execution import collect_evidence
from edgekit.validators.runner_process import RunSettings
from edgekit.workers.cache import Cache

TASKS = Path(__file__).parent / "tasks/soundness"
ALL = ("tflite", "onnx", "executorch", "coreml")
UNTIMED = ("memory", "latency", "latency_p95")

TASK = """
[model]
source = "{tasks}/model.py:{name}"
example_inputs = "{tasks}/model.py:{kind}_inputs"
[data]
calibration = "{tasks}/data.py:calibration(kind='{kind}')"
evaluation = "{tasks}/data.py:evaluation(kind='{kind}')"
metric = "{metric}"
[training]
batches = "{tasks}/train.py:batches"
loss = "{tasks}/train.py:loss"
epochs = 1
"""

NETWORKS = {
    "cnn": ("image", "agreement"),
    "softmax": ("image", "agreement"),
    "detector": ("image", "cosine"),
    "segmenter": ("image", "agreement"),
    "table": ("table", "agreement"),
    "recurrent": ("sequence", "agreement"),
    "encoder": ("token", "cosine"),
}
"""Network to (kind of its input, metric)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One way to make artifacts: a network, a recipe, what is done before, and the formats."""

    network: str
    recipe: Recipe
    techniques: tuple[str, ...] = ()
    formats: tuple[str, ...] = ALL

    @property
    def title(self) -> str:
        """For tables: `cnn, qat, int8-static`."""
        return ", ".join((self.network, *self.techniques, self.recipe.name))


STATIC, DYNAMIC = Recipe(default="int8_static"), Recipe(default="int8_dynamic")
HALF, FLOAT, INT4 = Recipe(default="fp16"), Recipe(default="fp32"), Recipe(default="int4_weights")
MIXED = Recipe(default="int8_static", overrides=(("head", "fp32"), ("trunk.blocks.0*", "fp32")))

CASES = (
    Case(network="softmax", recipe=STATIC),
    Case(network="softmax", recipe=HALF, formats=("tflite", "coreml")),
    Case(network="detector", recipe=STATIC),
    Case(network="detector", recipe=FLOAT),
    Case(network="detector", recipe=HALF, formats=("onnx", "coreml")),
    Case(network="segmenter", recipe=STATIC),
    Case(network="segmenter", recipe=FLOAT, formats=("onnx", "executorch")),
    Case(network="table", recipe=STATIC),
    Case(network="table", recipe=DYNAMIC, formats=("tflite", "onnx")),
    Case(network="table", recipe=INT4, formats=("tflite", "coreml")),
    Case(network="table", recipe=STATIC, techniques=("equalize",), formats=("tflite",)),
    Case(network="recurrent", recipe=DYNAMIC, formats=("tflite", "onnx")),
    Case(network="recurrent", recipe=FLOAT, formats=("executorch",)),
    Case(network="encoder", recipe=DYNAMIC, formats=("executorch",)),
    Case(network="encoder", recipe=INT4, formats=("onnx",)),
    Case(network="encoder", recipe=DYNAMIC, techniques=("drop_layers:count=1",), formats=("onnx",)),
    Case(network="encoder", recipe=FLOAT, techniques=("prune_heads:share=0.25",), formats=("executorch",)),
    Case(network="encoder", recipe=DYNAMIC, techniques=("smooth_activations",), formats=("onnx",)),
    Case(network="cnn", recipe=MIXED, formats=("tflite", "executorch")),
    Case(network="cnn", recipe=STATIC, techniques=("qat",), formats=("onnx", "coreml")),
    Case(
        network="cnn", recipe=STATIC, techniques=("prune_channels:ratio=0.3,steps=1,multiple=1",), formats=("tflite",)
    ),
    Case(network="cnn", recipe=STATIC, techniques=("distill",), formats=("coreml",)),
    Case(network="cnn", recipe=STATIC, techniques=("factorize:keep=0.7", "lora_recovery:rank=4"), formats=("onnx",)),
    Case(network="cnn", recipe=STATIC, techniques=("round_weights",), formats=("onnx",)),
    Case(network="cnn", recipe=HALF, techniques=("sparsify:sparsity=0.5",), formats=("coreml",)),
    Case(network="cnn", recipe=INT4, techniques=("share_weights:bits=4",), formats=("coreml",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A sound artifact, with all that its judgement needs."""

    case: Case
    artifact: Artifact
    candidate: Candidate
    inputs: Inputs
    converted: CapturedModel | None


def make(case: Case, cache: Cache, work: Path) -> list[Made | tuple[str, str]]:
    """Returns the case's artifacts; (format, reason) for one that cannot be made."""
    settings = Settings(cache=cache, jobs=1)
    kind, metric = NETWORKS[case.network]
    config = work / f"{case.network}.toml"
    config.write_text(TASK.format(tasks=TASKS, name=case.network, kind=kind, metric=metric))
    task = load_task(config)
    steps = tuple(parse_technique(text, "benchmark") for text in case.techniques)
    candidates = [Candidate(runtime=name, recipe=case.recipe, steps=steps) for name in case.formats]
    try:
        inputs = read_inputs(task, case.formats, settings)
        applied = apply_techniques(inputs.model, steps, inputs.calibration, settings, task)
    except EdgekitError as error:
        return [(name, error.message) for name in case.formats]
    made = convert_candidates(inputs, candidates, settings, "float", lambda _stage, _phrase: None)
    return [
        (candidate.runtime, item.message)
        if isinstance(item, EdgekitError)
        else Made(
            case=case,
            artifact=item.artifact,
            candidate=candidate,
            inputs=inputs,
            converted=applied[-1].model if applied else None,
        )
        for candidate, item in zip(candidates, made, strict=True)
    ]


def judge(made: Made, cache: Cache, path: Path | None = None) -> tuple[tuple[Check, ...], Evidence | None, str]:
    """Returns the checks of the artifact, or of the edited one at `path`, its evidence, and the error where it has one.

    The evidence's outputs are read before this returns: its folder is gone then.
    """
    artifact, settings = made.artifact, Settings(cache=cache, jobs=1)
    if path is not None:
        size, download, digest = measure_files(path)
        artifact = replace(artifact, path=path, size_bytes=size, download_bytes=download, sha256=digest)
    with tempfile.TemporaryDirectory() as folder:
        try:
            evidence = collect_evidence(
                artifact,
                folder=Path(folder),
                evaluation=made.inputs.evaluation,
                reference=made.inputs.reference,
                metric=made.inputs.task.metric,
                metric_base=made.inputs.task.base,
                pieces=("outputs",),
                settings=RunSettings(timeout_s=300),
            )
            requested = what_was_requested(made.inputs, made.candidate, "float", settings)
            evidence = with_float_model(replace(evidence, requested=requested), made.inputs, made.converted, settings)
            checks = judge_evidence(evidence, Budget())
            return tuple(x for x in checks if x.name not in UNTIMED), _in_memory(evidence), ""
        except EdgekitError as error:
            return (), None, error.message


def _in_memory(evidence: Evidence) -> Evidence:
    """Returns the evidence with arrays that outlive their files, under `arrays`."""
    reference = evidence.converted_reference or evidence.reference
    ARRAYS["outputs"] = [x.copy() for x in evidence.outputs.arrays()] if evidence.outputs else []
    ARRAYS["reference"] = [x.copy() for x in reference.arrays()] if reference else []
    return evidence


ARRAYS: dict[str, list] = {}
"""Outputs of the artifact that was judged last, and the float model's."""


def failing(checks: Sequence[Check]) -> list[Check]:
    """Returns the checks that fail a gate."""
    return [check for check in checks if check.fails_gate]
