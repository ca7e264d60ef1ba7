"""What starts from a model: plan, export, ladder, search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from typing_extensions import Unpack

from edgekit.api.calls import Requests, format_text, plan_file, steps_of, texts_of
from edgekit.in_memory.image_input import ImageInputOption
from edgekit.in_memory.options import (
    Data,
    Device,
    Devices,
    ExportOptions,
    Limits,
    Metric,
    PathText,
    PlanOptions,
)
from edgekit.in_memory.session import session
from edgekit.in_memory.task import TaskSource, artifact_data, as_path, described_task, is_text, task_of
from edgekit.recipe import Step
from edgekit.results.outcomes import (
    ExportOutcome,
    LadderOutcome,
    PlanOutcome,
    SearchOutcome,
)
from edgekit.results.temporary_folder import TemporaryFolder
from edgekit.task.request import Request, make_request, parse_effort

if TYPE_CHECKING:
    from edgekit.techniques.base import Technique


@overload
def plan(model: object = ..., *, device: Device | None = ..., **options: Unpack[PlanOptions]) -> PlanOutcome: ...
@overload
def plan(model: object = ..., *, device: Devices, **options: Unpack[PlanOptions]) -> dict[str, PlanOutcome]: ...
def plan(
    model: object = None,
    *,
    device: Device | Devices | None = None,
    inputs: object = None,
    dimensions: Mapping[str, object] | None = None,
    split_outputs: bool = False,
    formats: str | Sequence[str] | None = None,
    precision: str | None = None,
    effort: str = "quick",
    prefer: str | None = None,
    calibration: Data = None,
    evaluation: Data = None,
    metric: Metric | None = None,
    training: Mapping[str, object] | None = None,
    signature: str | None = None,
    why: bool = False,
    config: PathText | None = None,
    name: str | None = None,
    **more: Unpack[Limits],
) -> PlanOutcome | dict[str, PlanOutcome]:
    """Chooses the format and precision that fit a device, and says why.

    Of a finished file (.tflite, .pte, .mlpackage, a quantized .onnx) it says whether the file fits, without accuracy.

    Args:
        model: Text or a path as for the command line, or in memory a `torch.nn.Module`, an `ExportedProgram`, an
            `onnx.ModelProto` or a `keras.Model`. None takes the task file's, else the embedded default.
        device: A name, an alias, a TOML file or a profile; or a list of them. None asks `EDGEKIT_DEVICE` and the task
            file.
        inputs: Example inputs: tensors or arrays (1, ...), a tuple or a dict of them, or shapes:
            `{"image": (1, 3, 224, 224)}`, with `((1, 16), "int64")` where the dtype is not float32. A torch module
            needs them, or the first sample of data in memory, with its batch axis. Elsewhere a dict of shapes fixes the
            sizes that a file leaves free.
        dimensions: Sizes that stay open, which the shapes in `inputs` name: `inputs={"ids": (1, "length")}` and
            `{"length": (1, 512)}`, or a dict with min, max, multiple_of and typical in the place of the pair.
        split_outputs: True makes each member of a joined output (boxes and scores) an output of its own.
        formats: `"tflite"`, `"tflite,onnx"`, `"all"` or a sequence of names; None lets the planner choose.
        precision: A preset, such as `"int8"`; None lets the planner choose.
        prefer: Among plans that fit: `"balanced"` (the default), `"accuracy"`, `"size"` or `"speed"`.
        effort: `"quick"` predicts, `"default"` simulates, `"thorough"` exports the best few too.
        calibration: Samples to find ranges with: text, arrays (N, ...), an iterable such as a DataLoader, a function.
        evaluation: Samples with targets: text, a pair of arrays, an iterable of (inputs, target), a function.
        metric: A name, or a function (outputs, targets) -> float, larger is better.
        training: For techniques that train: `{"batches": ..., "loss": ..., "epochs": ..., "held_out": ...}`, with
            batches in memory or text, and the loss as text or as a function of a module that can be imported.
        signature: Which function of a finished file that has several.
        why: True tries a conversion to every format first: `rejected` then also lists, with layer and line, what a
            converter cannot hold. Every plan's `analysis` lists the operations and what each costs.
        config: Task file; None takes `edgekit.toml` in the working folder, where there is one.
        name: What the model is called in files and tables.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The plan; for several devices a dict of them by the devices' names.

    Raises:
        InputError: what was given is wrong.
        MachineError: this machine cannot do what the effort asks for.
    """
    from edgekit.trials.choice import finished_model, fit_finished, plan_model

    source = TaskSource(
        model=model, inputs=inputs, calibration=calibration, evaluation=evaluation, metric=metric, training=training,
        config=config, name=name, dimensions=dimensions, split_outputs=split_outputs,
    )  # fmt: skip
    with session("plan", more) as run:
        wanted, described = parse_effort(effort), described_task(source)

        def ask(device: Device | None) -> Request:
            return make_request(
                model=None, device=device, config=as_path(config), formats=format_text(formats), precision=precision,
                prefer=prefer, limits=run.limits, task=described,
            )  # fmt: skip

        requests = Requests.of(device, ask)
        decided = bool(formats or precision)
        finished = finished_model(requests.each[0], decided=decided) if is_text(model) else None
        if finished is not None:
            data = artifact_data(source, finished, run.scratch, run.settings)

            def judge(request: Request) -> PlanOutcome:
                settings = replace(run.settings, signature=signature or request.task.signature)
                return PlanOutcome(ExportOutcome(fit_finished(finished, request, data, settings)))

            return requests.run(judge)
        task = task_of(source, run.scratch, run.settings)
        return requests.run(lambda request: PlanOutcome(*plan_model(request, wanted, run.settings, trial=why)), task)


@overload
def export(model: object = ..., *, device: Device | None = ..., **options: Unpack[ExportOptions]) -> ExportOutcome: ...
@overload
def export(model: object = ..., *, device: Devices, **options: Unpack[ExportOptions]) -> dict[str, ExportOutcome]: ...
def export(
    model: object = None,
    *,
    device: Device | Devices | None = None,
    inputs: object = None,
    dimensions: Mapping[str, object] | None = None,
    split_outputs: bool = False,
    formats: str | Sequence[str] | None = None,
    precision: str | None = None,
    techniques: str | Step | Technique | Iterable[str | Step | Technique] = (),
    plan: PathText | PlanOutcome | None = None,
    effort: str = "quick",
    prefer: str | None = None,
    calibration: Data = None,
    evaluation: Data = None,
    metric: Metric | None = None,
    training: Mapping[str, object] | None = None,
    io: str = "float",
    image_input: ImageInputOption = None,
    measurements: Iterable[PathText] = (),
    without: str | Iterable[str] = (),
    output: PathText | None = None,
    config: PathText | None = None,
    name: str | None = None,
    strict: bool = False,
    **more: Unpack[Limits],
) -> ExportOutcome | dict[str, ExportOutcome]:
    """Plans, converts, runs every artifact in its own runtime, and judges it against the device's budgets.

    Args:
        model: As for `plan`.
        device: As for `plan`.
        inputs: As for `plan`.
        dimensions: See `plan`.
        split_outputs: See `plan`.
        formats: As for `plan`.
        precision: As for `plan`.
        techniques: What to do to the float model first: `"equalize"`, `"round_weights:method=gptq"`, techniques
            themselves, or a sequence of them.
        plan: A plan to carry out: what `plan` returned, or the file that `edgekit plan -o` wrote.
        effort: As for `plan`.
        prefer: As for `plan`.
        calibration: As for `plan`.
        evaluation: As for `plan`.
        metric: As for `plan`. What a function has judged is not cached.
        training: As for `plan`.
        io: Types of the artifacts' inputs and outputs: `"float"` or `"int8"`.
        image_input: True makes artifacts that take pixels and do the preprocessing of the task file themselves, as
            MediaPipe and Vision want it; a dict such as `{"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}`
            says the preprocessing here. None: on phones where the task file has that table.
        measurements: Measurement files of `bench` from the device.
        without: Checks that are shown and not judged, such as `"evidence"`.
        output: Folder for the artifacts and the records about them; for several devices it holds one folder each. None
            takes a temporary one that lives as long as the result.
        config: As for `plan`.
        name: As for `plan`.
        strict: Inconclusive checks and warnings fail too.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The verdict and the artifacts; for several devices a dict of them by the devices' names.

    Raises:
        InputError: what was given is wrong. A format that cannot be made is no error but a part of the result.
        MachineError: this machine cannot.
    """
    from edgekit.trials.choice import parse_io
    from edgekit.trials.export_request import ExportRequest, run_export

    source = TaskSource(
        model=model, inputs=inputs, calibration=calibration, evaluation=evaluation, metric=metric, training=training,
        config=config, name=name, dimensions=dimensions, split_outputs=split_outputs,
        image_input=image_input,
    )  # fmt: skip
    with session("export", more) as run:
        io_type, wanted = parse_io(io), parse_effort(effort)
        planned = plan_file(plan, decided=bool(formats or precision or wanted != "quick"))
        described = described_task(source)

        def ask(device: Device | None) -> Request:
            request = make_request(
                model=None, device=device or (planned.plan.device if planned else None), config=as_path(config),
                formats=format_text(formats), precision=precision, prefer=prefer, techniques=steps_of(techniques),
                limits=run.limits, without=texts_of(without), task=described,
            )  # fmt: skip
            return planned.restrict(request) if planned else request

        requests = Requests.of(device, ask)

        def one(request: Request) -> ExportOutcome:
            kept = TemporaryFolder() if output is None else None
            own = request.profile.name if requests.several else ""
            requested = ExportRequest(
                request=request, output=kept.path if kept is not None else Path(output or "") / own, planned=planned,
                effort=wanted, io=io_type, measurements=tuple(map(Path, measurements)),
            )  # fmt: skip
            made = run_export(requested, run.settings, run.done)
            return ExportOutcome(made.report, made.plans, strict=strict, kept=kept)

        return requests.run(one, task_of(source, run.scratch, run.settings))


def ladder(
    model: object = None,
    *,
    device: Device | None = None,
    inputs: object = None,
    format: str | None = None,  # noqa: A002  as the command line has it
    techniques: str | Step | Technique | Iterable[str | Step | Technique] = (),
    calibration: Data = None,
    evaluation: Data = None,
    metric: Metric | None = None,
    training: Mapping[str, object] | None = None,
    output: PathText | None = None,
    config: PathText | None = None,
    name: str | None = None,
    strict: bool = False,
    **more: Unpack[Limits],
) -> LadderOutcome:
    """Exports and measures FP16, INT8 and INT4 in turn, stops before the accuracy cliff, and names its layers.

    Args:
        model: As for `plan`.
        device: One device, as for `plan`.
        inputs: As for `plan`.
        format: The one format; None lets the planner choose.
        techniques: As for `export`.
        calibration: As for `plan`.
        evaluation: As for `plan`.
        metric: As for `plan`.
        training: As for `plan`.
        output: Folder for an export of the rung that is recommended; None exports nothing.
        config: As for `plan`.
        name: As for `plan`.
        strict: Inconclusive checks and warnings fail too.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The rungs, the cliff and the choice.

    Raises:
        InputError: what was given is wrong.
        MachineError: this machine cannot.
    """
    from edgekit.trials.ladder_request import run_ladder

    source = TaskSource(
        model=model, inputs=inputs, calibration=calibration, evaluation=evaluation, metric=metric, training=training,
        config=config, name=name,
    )  # fmt: skip
    with session("ladder", more) as run:
        request = make_request(
            model=None, device=device, config=as_path(config), formats=format, techniques=steps_of(techniques),
            limits=run.limits, task=described_task(source),
        )  # fmt: skip
        request = replace(request, task=task_of(source, run.scratch, run.settings))
        made = run_ladder(request, as_path(output), run.settings, run.done, strict=strict)
        return LadderOutcome(made, strict=strict)


def search(
    *,
    device: Device | None = None,
    output: PathText = "edgekit-search",
    formats: str | Sequence[str] | None = None,
    precision: str | None = None,
    epochs: int = 0,
    trials: int = 16,
    seed: int = 0,
    learning_rate: float = 0.1,
    optimizer: str = "sgd",
    config: PathText | None = None,
    **more: Unpack[Limits],
) -> SearchOutcome:
    """Trains variants of a model (width, depth, resolution), measures them on their runtime, and compares them.

    Variants are built by functions of the task file's [search] and [training], in processes of their own: a model in
    memory has no variants.

    Args:
        device: One device, as for `plan`.
        output: Folder for search.json and the Pareto front's models and artifacts.
        formats: As for `plan`.
        precision: As for `plan`.
        epochs: Epochs of the finalists; 0 is as many as [training] says.
        trials: Variants that are trained at most.
        seed: Random seed of weights and batches.
        learning_rate: The highest learning rate.
        optimizer: `"sgd"` or `"adamw"`.
        config: Task file; None takes `edgekit.toml` in the working folder.
        **more: Limits and how to run (see `Limits` and `Running`).

    Returns:
        The variants, the Pareto front and the recommendation.

    Raises:
        InputError: what was given is wrong.
        MachineError: this machine cannot.
    """
    from edgekit.searching.request import SearchOptions, run_search

    options = SearchOptions(epochs=epochs, trials=trials, seed=seed, learning_rate=learning_rate, optimizer=optimizer)
    with session("search", more, jobs=1) as run:
        options.check()
        request = make_request(
            model=None, device=device, config=as_path(config), formats=format_text(formats), precision=precision,
            limits=run.limits,
        )  # fmt: skip
        return SearchOutcome(run_search(request, options, Path(output), run.settings, run.done))
