"""A sweep from the request to its result: what the command line and the Python API both call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.engines.engine import find_engine
from edgekit.errors import ArtifactError
from edgekit.exporting.export import recorded_packages
from edgekit.pipeline.settings import Settings
from edgekit.sweeping.folder import SWEEP_NAME
from edgekit.sweeping.matrix import Axes, Matrix, Omitted, Point, expand
from edgekit.sweeping.matrix_file import SweepFlags, read_matrix
from edgekit.sweeping.pace import Pace
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import read_rows, require_tables
from edgekit.sweeping.schedule import Driven, JobBudget, drive
from edgekit.sweeping.stages import SweepPlan, SweepStages, Tally
from edgekit.sweeping.task_text import TaskText, read_request
from edgekit.task.reference_digest import reference_digest
from edgekit.workers.atomic_files import write_json
from edgekit.workers.cache import code_fingerprint, content_key, versions
from edgekit.workers.output_folder import output_folder

if TYPE_CHECKING:
    from edgekit.engines.engine import Engine
    from edgekit.task.request import Request

DEFAULT_FOLDER: Final = Path("edgekit-sweep")
"""Where a sweep is written to, where nobody says."""

SCHEMA_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """What to sweep.

    Attributes:
        axes: The values of each axis.
        budget: After what nothing more is started.
        folder: Where the rows lie.
        limits: Cost name to the text of its limit; they come before those of task files and profiles.
        engine: Name of what runs the jobs.
        address: Where the engine's machines are; None where it has none, or finds them.
    """

    axes: Axes
    budget: JobBudget
    folder: Path
    limits: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    engine: str = "local"
    address: str | None = None

    @staticmethod
    def read(
        matrix: Path | None,
        flags: SweepFlags,
        folder: Path,
        limits: Mapping[str, str | None],
        engine: str = "local",
        address: str | None = None,
    ) -> SweepRequest:
        """Returns the request that a matrix file and flags make.

        Raises:
            InputError: the file or a flag is wrong.
        """
        axes, budget = read_matrix(matrix, flags, Path.cwd())
        return SweepRequest(axes=axes, budget=budget, folder=folder, limits=limits, engine=engine, address=address)


def dry_run(requested: SweepRequest) -> SweepResult:
    """Returns the matrix with the rows that the folder holds, after every request was checked; runs nothing.

    Raises:
        InputError: the matrix, a task or a limit is wrong.
    """
    matrix = expand(requested.axes)
    _plan(requested, matrix, Settings(), check_rows=requested.folder.is_dir())
    rows = read_rows(requested.folder) if requested.folder.is_dir() else ()
    return _result(requested.folder, matrix, rows, Driven(started=0, left=0))


def run_sweep(requested: SweepRequest, settings: Settings, engine: Engine | None = None) -> SweepResult:
    """Judges every combination of the matrix that is not judged yet.

    Args:
        requested: What to sweep.
        settings: Limits of each stage, how many jobs run at a time, and who is told how far it is.
        engine: What runs the jobs; None finds the one that is named.

    Raises:
        InputError: the matrix, a task or a limit is wrong.
        MachineError: this machine cannot.
        KeyboardInterrupt: after every job was ended; rows that are there stay.
    """
    require_tables()
    matrix = expand(requested.axes)
    with output_folder(requested.folder):
        plan = _plan(requested, matrix, settings)
        write_json(requested.folder / SWEEP_NAME, sweep_json(matrix))

        pace = Pace()

        def tell(device: str, tally: Tally) -> None:
            phrase = f"{tally.phrase}{pace.words(stages.tallies.values())}"
            settings.progress(device, phrase, tally.over / tally.total)

        engine = engine or find_engine(requested.engine, settings.jobs, requested.address)
        stages = SweepStages(plan, engine.slots, tell)
        try:
            driven = drive(stages.graph(), stages, engine, requested.budget)
        finally:
            engine.cancel()
        result = _result(requested.folder, matrix, read_rows(requested.folder), driven)
    return result.with_counts(captured=stages.captured, converted=stages.converted, tallies=stages.tallies)


def read_sweep(folder: Path) -> SweepResult:
    """Returns what a sweep has left in `folder`, also while it still runs.

    Raises:
        ArtifactError: no sweep lies there, or it is damaged.
    """
    from edgekit.measurements.figure_schema import read_record
    from edgekit.sweeping.sweep_schema import SweepFile

    data = read_record(
        folder / SWEEP_NAME,
        SweepFile,
        ArtifactError,
        what="a sweep",
        advice="Run edgekit sweep again.",
        missing=f"{folder} holds no sweep: {SWEEP_NAME} is not there. Run edgekit sweep first.",
    )
    omitted = tuple(Omitted(title=item["title"], reason=item["reason"]) for item in data["omitted"])
    return _of_points(folder, data["points"], omitted, read_rows(folder), Driven(started=0, left=0))


def sweep_json(matrix: Matrix) -> dict[str, Any]:
    """Returns what `sweep.json` holds: the combinations, by their keys, and what was left out."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "sweep",
        "points": {point.key: point.axes() for point in matrix.points},
        "omitted": [{"title": item.title, "reason": item.reason} for item in matrix.omitted],
    }


def _result(folder: Path, matrix: Matrix, rows: Iterable[Any], driven: Driven) -> SweepResult:
    return _of_points(folder, [point.key for point in matrix.points], matrix.omitted, rows, driven, matrix.points)


def _of_points(
    folder: Path,
    keys: Iterable[str],
    omitted: tuple[Omitted, ...],
    rows: Iterable[Any],
    driven: Driven,
    points: tuple[Point, ...] = (),
) -> SweepResult:
    """Returns the result with the rows of these combinations: a folder may hold those of an earlier matrix too."""
    listed = tuple(keys)
    wanted = set(listed)
    return SweepResult(
        folder=folder,
        keys=listed,
        rows=tuple(row for row in rows if row.point in wanted),
        omitted=omitted,
        points=points,
        driven=driven,
    )


def _plan(requested: SweepRequest, matrix: Matrix, settings: Settings, *, check_rows: bool = True) -> SweepPlan:
    """Returns what the jobs are made from; every request is made once, so that mistakes show before any work."""
    tasks = {
        model.name: TaskText(
            source=model.source,
            config=model.config,
            folder=model.folder,
            overrides=model.overrides,
            limits={name: text for name, text in requested.limits.items() if text is not None},
            timeout_s=settings.timeout_s,
            memory_limit_bytes=settings.memory_limit_bytes,
        )
        for model in requested.axes.models
    }
    devices = {profile.name: str(profile.path) for profile in requested.axes.devices}
    pairs = dict.fromkeys((point.model.name, point.device) for point in matrix.points)
    facts = {
        (model, device): _facts(read_request(tasks[model], devices[device], None, None, ())) for model, device in pairs
    }
    first = matrix.points[0]
    for pipeline in dict.fromkeys(point.pipeline for point in matrix.points):
        read_request(tasks[first.model.name], devices[first.device], None, None, pipeline)
    return SweepPlan(
        points=matrix.points,
        tasks=tasks,
        devices=devices,
        facts=facts,
        code=content_key({"code": code_fingerprint(), "tools": versions(recorded_packages())}),
        folder=requested.folder.absolute(),
        known=read_rows(requested.folder) if check_rows else (),
    )


def _facts(request: Request) -> str:
    """Returns a digest of all that a request says: task, device, limits, and the files of the user's functions."""
    task = request.task
    training = task.training
    named = (task.metric, *((training.batches, training.loss) if training else ()))
    files = [reference_digest(text, task.base) for text in named if ":" in text]
    # Where they lie says nothing: a sweep goes on in another checkout, and no name of a row holds a hash of a path.
    placeless = replace(task, base=Path(), config=None, model_file=None)
    profile = replace(request.profile, path=Path(request.profile.path.name))
    parts = (placeless, profile, request.budget, request.prefer, request.precision, files)
    said = "\n".join(map(repr, parts))
    return hashlib.sha256(said.encode()).hexdigest()
