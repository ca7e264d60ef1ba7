"""The keywords of the API's functions as types: what a type checker and an editor know of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from edgekit.in_memory.image_input import ImageInputOption
from edgekit.pipeline.settings import StageProgress
from edgekit.profiles.profile import DeviceProfile

if TYPE_CHECKING:
    from edgekit.recipe import Step
    from edgekit.results.outcomes import PlanOutcome
    from edgekit.techniques.base import Technique

PathText = str | os.PathLike[str]
"""A path, as text or as an object."""
Device = str | DeviceProfile
"""A name, an alias, the path of a TOML file, or a profile."""
Devices = list[Device] | tuple[Device, ...]
"""Several devices: the result is a dict by name then."""
Data = object
"""Text or a path as for the command line; arrays, rows first; for evaluation a pair (inputs, targets); an iterable of
samples such as a list or a DataLoader; a function that returns one of these."""
Metric = str | Callable[[Any, Any], float]
"""A metric such as top1 or map50, "metrics.py:function", or a function (outputs, targets) -> float."""
Progress = bool | StageProgress
"""True shows progress on stderr; a function is called with (stage, phrase, share done or None)."""


class Running(TypedDict, total=False):
    """How worker processes run, and who is notified of them.

    Attributes:
        progress: True shows progress on stderr; a function is called with (stage, phrase, share done or None).
        jobs: Worker processes at a time; 0 is one a core.
        timeout: Seconds that one worker process may take.
        memory_limit: Memory that one worker process may take, such as "8 GB".
        cache: False does everything anew; a URL such as "s3://models/edgekit" is a cache that a team shares.
        cache_write: What is made here goes to the shared cache.
        engine: What runs trials of `plan` and `search` where there are several at a time, and jobs of `sweep`:
            "local", "ray", or a third party's.
        address: The cluster of the engine, such as "auto".
    """

    progress: Progress
    jobs: int
    timeout: float
    memory_limit: str
    cache: bool | str
    cache_write: bool
    engine: str
    address: str | None


class Limits(Running, total=False):
    """Limits on what an artifact may cost, as text with a unit; they come before those of task file and profile.

    Attributes:
        max_size: Such as "6 MB".
        max_download: Deflated size, such as "5 MB".
        max_memory: Peak memory, such as "64 MB".
        max_latency: On the device, such as "30 ms".
        max_drop: Accuracy drop, such as "1 pp".
        max_slice_drop: Drop of the worst slice, such as "3 pp".
        min_parity: SQNR against the float model, such as "20 dB".
        min_accuracy: The artifact's own metric, such as "90 %"; needs no float model.
        min_parity_floor: SQNR of the worst output or channel against the converted model, such as "6 dB".
        min_integer_coverage: Work that runs in integers, such as "100 %".
        min_delegate_coverage: Work on the fast CPU kernels, such as "95 %".
        min_accelerator_coverage: Work that the accelerator is predicted to take, such as "90 %".
    """

    max_size: str
    max_download: str
    max_memory: str
    max_latency: str
    max_drop: str
    max_slice_drop: str
    min_parity: str
    min_accuracy: str
    min_parity_floor: str
    min_integer_coverage: str
    min_delegate_coverage: str
    min_accelerator_coverage: str


class ModelOptions(Limits, total=False):
    """Keywords that `plan` and `export` share."""

    inputs: object
    dimensions: Mapping[str, object] | None
    split_outputs: bool
    formats: str | Sequence[str] | None
    precision: str | None
    effort: str
    prefer: str | None
    calibration: Data
    evaluation: Data
    metric: Metric | None
    training: Mapping[str, object] | None
    config: PathText | None
    name: str | None


class PlanOptions(ModelOptions, total=False):
    """Keywords of `plan` (see there)."""

    signature: str | None
    why: bool


class ExportOptions(ModelOptions, total=False):
    """Keywords of `export` (see there)."""

    without: str | Iterable[str]
    techniques: str | Step | Technique | Iterable[str | Step | Technique]
    plan: PathText | PlanOutcome | None
    io: str
    image_input: ImageInputOption
    measurements: Iterable[PathText]
    output: PathText | None
    strict: bool


class ValidateOptions(Limits, total=False):
    """Keywords of `validate` (see there)."""

    model: object
    inputs: object
    calibration: Data
    evaluation: Data
    metric: Metric | None
    measurements: Iterable[PathText]
    signature: str | None
    without: str | Iterable[str]
    config: PathText | None
    strict: bool


class GateOptions(ValidateOptions, total=False):
    """Keywords of `gate` (see there)."""

    max_regression: str | Iterable[str]
    baseline: PathText | None
    fail_on_missing_baseline: bool
    remeasure: bool
