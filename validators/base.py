"""The contract of a validator: evidence in, checks out.

Running the artifact is not a validator's work: `edgekit.validators.execution` runs it in fresh processes and collects
the evidence once for all validators. A validator only judges, so it is pure and quick, and it says `not_run` with the
reason where its evidence is missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, final

from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.checks import Check
from edgekit.plugins import load
from edgekit.recipe import Prediction
from edgekit.registry import validator_targets
from edgekit.samples import Samples
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.output_layout import OutputLayout
from edgekit.validators.requested import Requested


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GivenModel:
    """The float model that an artifact is compared with.

    Attributes:
        name: For people: its source.
        digests: Digests of the model in each form in which it was captured.
    """

    name: str
    digests: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured about one artifact.

    Attributes:
        artifact: The file and its facts.
        host: What measured it: `AMD EPYC, 2 cores, Linux x86_64`.
        runtime: What ran it: `ai-edge-litert 2.3.0`, `Core ML evaluator, not Apple's runtime`.
        on_device: True where `host` is the device itself: only then is a timing the device's latency.
        threads: That the runtime was given.
        metric: Metric of the task, settings included, or `file.py:function`.
        metric_base: Folder that a relative `file.py:function` starts from.
        evaluation: Inputs, targets and slices; None where the task has no evaluation data.
        outputs: The artifact's outputs on `evaluation`, dequantized, row by row.
        reference: The float model's outputs on `evaluation`, row by row; None without a float model.
        rows_of: What outputs and reference are of, where there is no evaluation data: `calibration data`.
        converted_reference: Outputs of the model that was converted, where techniques have changed the float model.
        layouts: How each output of that model is made up; empty where nobody knows.
        pairing: How the artifact's outputs were paired with the float model's, "" where they come in its order.
        model: Name and digests of the float model that was given; None without one.
        latencies_ms: Host timings of single inferences, in the order in which they ran.
        float_latencies_ms: The float artifact's timings, interleaved with `latencies_ms`; empty without one.
        peak_memory_bytes: Peak resident set of the process that loaded and ran it.
        empty_memory_bytes: Peak resident set of the same process before it loaded the artifact.
        load_ms: Time from the file to a session that can run, once, the file being in the system's cache.
        operators: What the runtime runs, or what the file holds where it does not tell; empty where neither is known.
        operators_from: A sentence about where `operators` are from, "" where it is the runtime.
        boundary: (name, dtype) of the artifact's inputs and outputs, as the runtime tells them.
        embedded: Metadata as the runtime reads it from the file.
        requested: What was requested of the artifact, None where nobody knows.
        accelerator: Name of the rules about the device's accelerator for this format, "" where it has none.
        device: Name of the profile that the artifact is judged for.
        predicted_latency: What was predicted for that device: its latency until somebody measures it there.
        missing: Why a piece of evidence is missing: `outputs`, `reference`, `converted_reference`, `memory`, `latency`,
            `operators` to a sentence.
    """

    artifact: Artifact
    host: str = ""
    runtime: str = ""
    on_device: bool = False
    threads: int = 1
    metric: str = "agreement"
    metric_base: Path = Path()
    evaluation: Samples | None = None
    outputs: Samples | None = None
    reference: Samples | None = None
    rows_of: str = ""
    converted_reference: Samples | None = None
    layouts: tuple[OutputLayout, ...] = ()
    pairing: str = ""
    model: GivenModel | None = None
    latencies_ms: tuple[float, ...] = ()
    float_latencies_ms: tuple[float, ...] = ()
    peak_memory_bytes: int | None = None
    empty_memory_bytes: int | None = None
    load_ms: float | None = None
    operators: tuple[ArtifactOperator, ...] = ()
    operators_from: str = ""
    boundary: tuple[tuple[str, str], ...] = ()
    embedded: Mapping[str, str] = field(default_factory=dict[str, str])
    requested: Requested | None = None
    accelerator: str = ""
    device: str = ""
    predicted_latency: Prediction | None = None
    missing: Mapping[str, str] = field(default_factory=dict[str, str])

    def why_missing(self, piece: str) -> str:
        """Returns the reason why `piece` (a key of `missing`) is not there, or words for an unknown reason."""
        return self.missing.get(piece, "It was not measured.")

    @property
    def measured_on(self) -> str:
        """What measured it, for a check: `host: AMD EPYC`, the evaluator's name, or the device."""
        return self.host if self.on_device else f"host: {self.host}"


class Validator(ABC):
    """Judges one cost or quality of an artifact.

    Class attributes:
        costs: Names of the checks that it returns, keys of `budget.COSTS`.
    """

    costs: ClassVar[tuple[str, ...]]

    @abstractmethod
    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns one check for each of `costs`; `not_run` with the reason where the evidence is missing."""

    @final
    def run(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Judges, with the contract enforced: exactly the declared checks come back, in order.

        Raises:
            TypeError: the validator broke its contract; a bug of the plug-in, not of the user.
        """
        checks = self.judge(evidence, budget)
        if tuple(check.name for check in checks) != self.costs:
            names = ", ".join(check.name for check in checks)
            raise TypeError(
                f"{type(self).__name__} declares {', '.join(self.costs)} and returned {names or 'nothing'}."
            )
        return checks


def validators() -> tuple[Validator, ...]:
    """Returns all validators in the order of reports, third parties' last."""
    return tuple(load(target)() for target in validator_targets().values())
