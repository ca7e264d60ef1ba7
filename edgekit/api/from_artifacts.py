"""What starts from an artifact or from an export's folder: validate, gate, bench, debug, report; and devices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

from typing_extensions import Unpack

from edgekit.api.calls import Requests, texts_of
from edgekit.in_memory.arrays import shapes_of
from edgekit.in_memory.options import (
    Data,
    Device,
    Devices,
    GateOptions,
    Limits,
    Metric,
    PathText,
    Running,
    ValidateOptions,
)
from edgekit.in_memory.session import session
from edgekit.in_memory.task import (
    TaskSource,
    artifact_data,
    as_path,
    described_task,
    refuse_data_alone,
    sample_reference,
    task_of,
)
from edgekit.profiles.profile import DeviceProfile, find_profile, list_profiles
from edgekit.results.outcomes import (
    BenchOutcome,
    DebugOutcome,
    ExportOutcome,
    GateOutcome,
)
from edgekit.task.request import LIMIT_FLAGS, Request, make_request


@overload
def validate(
    artifact: PathText, *, device: Device | None = ..., **options: Unpack[ValidateOptions]
) -> ExportOutcome: ...
@overload
def validate(
    artifact: PathText, *, device: Devices, **options: Unpack[ValidateOptions]
) -> dict[str, ExportOutcome]: ...
def validate(
    artifact: PathText,
    *,
    device: Device | Devices | None = None,
    model: object = None,
    inputs: object = None,
    calibration: Data = None,
    evaluation: Data = None,
    metric: Metric | None = None,
    measurements: Iterable[PathText] = (),
    signature: str | None = None,
    without: str | Iterable[str] = (),
    config: PathText | None = None,
    strict: bool = False,
    **more: Unpack[Limits],
) -> ExportOutcome | dict[str, ExportOutcome]:
    """Runs an artifact in its own runtime, compares it with its float model, and checks the device's budgets.

    Args:
        artifact: A .tflite, .onnx or .pte file or an .mlpackage folder, also one made elsewhere.
        device: As for `plan`.
        model: The float model to compare with, as for `plan`. None takes the task file's; without one there is nothing
            to compare with, and size and memory are judged.
        inputs: As for `plan`; shapes for the sizes that an artifact leaves free.
        calibration: As for `plan`.
        evaluation: As for `plan`; without a float model the artifact's own metric is shown.
        metric: As for `plan`.
        measurements: Measurement files of `bench` from the device.
        signature: Which function of a file that has several; None where it has one, or where the task file says it.
        without: Checks that are shown and not judged, such as `"evidence"`.
        config: As for `plan`.
        strict: Inconclusive checks and warnings fail too.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The verdict; for several devices a dict of them by the devices' names.

    Raises:
        InputError: what was given is wrong.
        MachineError: the artifact cannot be run here.
    """
    from edgekit.exporting.validation_request import request_validation, run_validation

    source = TaskSource(
        model=model, inputs=inputs, calibration=calibration, evaluation=evaluation, metric=metric, config=config
    )
    with session("validate", more, jobs=1) as run:
        path = Path(artifact)
        described = described_task(source) if source.names_task() else None

        def ask(device: Device | None) -> Request:
            return request_validation(
                path, model=None, device=device, config=as_path(config), limits=run.limits, overrides={},
                without=texts_of(without), task=described,
            )[0]  # fmt: skip

        requests = Requests.of(device, ask)
        task = task_of(source, run.scratch, run.settings) if described is not None else None
        data = artifact_data(source, path, run.scratch, run.settings) if described is None else None

        def one(request: Request) -> ExportOutcome:
            measured = tuple(map(Path, measurements))
            settings = replace(run.settings, signature=signature or request.task.signature)
            made = run_validation(path, request, data=data, measurements=measured, settings=settings)
            return ExportOutcome(made, strict=strict)

        return requests.run(one, task)


@overload
def gate(target: PathText, *, device: Device | None = ..., **options: Unpack[GateOptions]) -> GateOutcome: ...
@overload
def gate(target: PathText, *, device: Devices, **options: Unpack[GateOptions]) -> dict[str, GateOutcome]: ...
def gate(
    target: PathText,
    *,
    device: Device | Devices | None = None,
    model: object = None,
    inputs: object = None,
    calibration: Data = None,
    evaluation: Data = None,
    metric: Metric | None = None,
    measurements: Iterable[PathText] = (),
    signature: str | None = None,
    max_regression: str | Iterable[str] = (),
    baseline: PathText | None = None,
    fail_on_missing_baseline: bool = False,
    remeasure: bool = False,
    without: str | Iterable[str] = (),
    config: PathText | None = None,
    strict: bool = False,
    **more: Unpack[Limits],
) -> GateOutcome | dict[str, GateOutcome]:
    """Holds an export against today's budgets, and against a baseline; of a sweep all rows, as they were judged.

    Args:
        target: Folder that export or sweep wrote, or one artifact, which is run then.
        device: As for `plan`.
        model: The float model of an artifact, as for `plan`.
        inputs: As for `plan`.
        calibration: As for `plan`.
        evaluation: As for `plan`.
        metric: As for `plan`.
        measurements: Measurement files of `bench` from the device.
        signature: As for `validate`.
        max_regression: Limits against the baseline: `"size +5 %"`, `"accuracy -0.5 pp"`, or several.
        baseline: File of `edgekit baseline set`; None takes `edgekit-baseline.json` in the working folder, of a sweep
            `edgekit-sweep-baseline.json`.
        fail_on_missing_baseline: A format without a baseline fails; else it warns.
        remeasure: Runs a folder's artifacts again instead of reading what its report says.
        without: Checks that are shown and not judged, such as `"evidence"`.
        config: As for `plan`.
        strict: Inconclusive checks and warnings fail too.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The verdict; for several devices a dict of them by the devices' names.

    Raises:
        InputError: what was given is wrong, or the artifacts are not those that were measured.
        MachineError: an artifact cannot be run here.
    """
    from edgekit.gating.request import GateRequest, exported_source, is_export_folder, run_gate
    from edgekit.sweeping.folder import is_sweep_folder
    from edgekit.sweeping.gate import refuse_without_effect, run_sweep_gate

    source = TaskSource(
        model=model, inputs=inputs, calibration=calibration, evaluation=evaluation, metric=metric, config=config
    )
    path = Path(target)
    is_folder = is_export_folder(path)
    with session("gate", more, jobs=1) as run:
        if is_sweep_folder(path):
            given = {
                "--device": device, "--config": config, "--signature": signature, "--without": without,
                "--measurements": tuple(measurements), "--remeasure": remeasure,
                **{f"--{name.replace('_', '-')}": text for name, text in source.given().items()},
                **{LIMIT_FLAGS[name]: text for name, text in run.limits.items()},
            }  # fmt: skip
            refuse_without_effect(path, given)
            regression = texts_of(max_regression)
            held = run_sweep_gate(path, regression, as_path(baseline), fail_on_missing=fail_on_missing_baseline)
            return GateOutcome(held, strict=strict)
        if is_folder and remeasure and not source.names_task():
            source = replace(source, model=exported_source(path))
        described = described_task(source) if source.names_task() else None

        def ask(device: Device | None) -> Request:
            return make_request(
                model=None, device=device, config=as_path(config), limits=run.limits, without=texts_of(without),
                regression=texts_of(max_regression), task=described,
            )  # fmt: skip

        requests = Requests.of(device, ask)
        runs = path.exists() and (remeasure or not is_folder)
        task = task_of(source, run.scratch, run.settings) if runs and described is not None else described
        alone = runs and described is None and not is_folder
        data = artifact_data(source, path, run.scratch, run.settings) if alone else None

        def one(request: Request) -> GateOutcome:
            settings = replace(run.settings, signature=signature or request.task.signature)
            requested = GateRequest(
                target=path, settings=settings, device=request.profile, config=as_path(config), limits=run.limits,
                overrides=source.given(), regression=texts_of(max_regression), without=texts_of(without),
                measurements=tuple(map(Path, measurements)), baseline=as_path(baseline), remeasure=remeasure,
                fail_on_missing_baseline=fail_on_missing_baseline, task=task, data=data,
            )  # fmt: skip
            return GateOutcome(run_gate(requested)[0], strict=strict)

        return requests.run(one)


def bench(
    artifact: PathText,
    *,
    on: str | None = None,
    device: Device | None = None,
    threads: int = 1,
    runs: int = 100,
    warmup: int = 10,
    seconds: float = 20.0,
    data: Data = None,
    inputs: object = None,
    outputs: PathText | None = None,
    python: str = "python3",
    benchmark_model: str = "",
    source: PathText | None = None,
    output: PathText | None = None,
    **more: Unpack[Running],
) -> BenchOutcome:
    """Measures an artifact in its own runtime: latency, load time, peak memory above the empty runtime.

    Args:
        artifact: A .tflite, .onnx or .pte file or an .mlpackage folder.
        on: `"ssh://USER@HOST[:PORT]"`, `"adb"` or `"adb:SERIAL"`; None is this machine.
        device: The profile of the machine that measures; None where it is no device.
        threads: Threads that the runtime may use.
        runs: Timed inferences.
        warmup: Inferences before the timed ones.
        seconds: Timing ends after this long, but not before 10 runs.
        data: Sample inputs: text, an array (N, ...), or a tuple of them, one for each input.
        inputs: Shapes by name for made-up sample inputs, where there is no `data`.
        outputs: Folder that keeps the outputs on `data`.
        python: Python on the device, for ssh.
        benchmark_model: TFLite's tool for adb: a file here, or a path on the device.
        source: Another tool's output to take the figures from, instead of measuring.
        output: File for the measurement.
        **more: How to run (see `Running`).

    Returns:
        The measurement.

    Raises:
        InputError: what was given is wrong.
        MachineError: it cannot be measured there.
    """
    from edgekit.benchmarking.request import BenchRequest, run_bench

    with session("bench", more, jobs=1) as run:
        requested = BenchRequest(
            artifact=Path(artifact), on=on, device=device, threads=threads, runs=runs, warmup=warmup, seconds=seconds,
            data=sample_reference(data, run.scratch), input_sizes=shapes_of(inputs), outputs=as_path(outputs),
            python=python,
            benchmark_model=benchmark_model, source=as_path(source), output=as_path(output),
        )  # fmt: skip
        return BenchOutcome(run_bench(requested, run.settings))


def debug(
    artifact: PathText,
    *,
    model: object = None,
    inputs: object = None,
    calibration: Data = None,
    evaluation: Data = None,
    data: Literal["calibration", "evaluation"] | None = None,
    samples: int = 16,
    device: str | None = None,
    config: PathText | None = None,
    **more: Unpack[Running],
) -> DebugOutcome:
    """Compares an artifact with its float model inside, tensor by tensor, and names the layer that breaks it.

    Args:
        artifact: A .tflite, .onnx or .pte file or an .mlpackage folder.
        model: The float model, as for `plan`; None takes the task file's, else the one that the artifact leads to.
        inputs: As for `plan`.
        calibration: As for `plan`.
        evaluation: As for `plan`.
        data: Which of the two to run; None takes the first that the task has.
        samples: How many to run.
        device: For the commands that are shown.
        config: As for `plan`.
        **more: How to run (see `Running`).

    Returns:
        The comparison, layer by layer.

    Raises:
        InputError: what was given is wrong.
        MachineError: the artifact cannot be run here.
    """
    from edgekit.debugging.debug import debug as compare
    from edgekit.debugging.request import request_debug

    source = TaskSource(model=model, inputs=inputs, calibration=calibration, evaluation=evaluation, config=config)
    with session("debug", more, jobs=1) as run:
        refuse_data_alone(source)
        request = request_debug(
            Path(artifact), config=as_path(config), overrides={}, data=data, samples=samples, device=device,
            task=task_of(source, run.scratch, run.settings) if source.names_task() else None,
        )  # fmt: skip
        return DebugOutcome(compare(request, run.settings))


def report(target: PathText | ExportOutcome, output: PathText | None = None) -> Path:
    """Writes one self-contained HTML file about an export, a search or a sweep.

    Args:
        target: Folder that export, search or sweep wrote, or what `export` returned.
        output: The HTML file; None is `report.html` in the folder.

    Returns:
        The file's path.

    Raises:
        ArtifactError: the folder holds no export, search or sweep.
        MachineError: a package is missing, or the file cannot be written.
    """
    from edgekit.html_report.page import write_report_page

    return write_report_page(target.folder if isinstance(target, ExportOutcome) else Path(target), as_path(output))


def devices(*names: str) -> tuple[DeviceProfile, ...]:
    """Returns the device profiles: all that edgekit and the working folder have, or those of the names.

    Args:
        *names: Names, aliases, titles or TOML files.

    Raises:
        ProfileError: a profile is wrong, or none has that name.
    """
    cwd = Path.cwd()
    return tuple(find_profile(name, cwd) for name in names) if names else list_profiles(cwd)
