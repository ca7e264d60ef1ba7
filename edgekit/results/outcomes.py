"""The results of the API's functions, each over the typed record that the command line prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from edgekit.results.outcome import Checks, Observation, Outcome
from edgekit.units import format_bytes, format_milliseconds

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
    from edgekit.artifact import Artifact
    from edgekit.benchmarking.request import Benchmark
    from edgekit.debugging.report import DebugReport
    from edgekit.errors import EdgekitError
    from edgekit.exporting.format_result import FormatResult
    from edgekit.exporting.report import ExportReport
    from edgekit.gating.gate import GateResult
    from edgekit.planner.plan import Plan
    from edgekit.recipe import Candidate, Rejection
    from edgekit.results.temporary_folder import TemporaryFolder
    from edgekit.searching.result import SearchResult
    from edgekit.sweeping.gate import SweepGate
    from edgekit.sweeping.result import SweepResult
    from edgekit.trials.ladder_request import LadderRun


@final
class PlanOutcome(Outcome):
    """What to do so that a model fits a device, and why; of a finished file, whether it fits as it is.

    Args:
        made: The plan, or the verdict on a finished file.
        analysis: The model's operations and what each costs; None of a finished file, and of an export's plans.
    """

    def __init__(self, made: Plan | ExportOutcome, analysis: Analysis | None = None) -> None:
        self.finished = made if isinstance(made, ExportOutcome) else None
        """The verdict on a finished file, about which there is nothing to plan; None of a model."""
        self.plan = None if isinstance(made, ExportOutcome) else made
        """The plan itself, with every candidate that was judged; None of a finished file."""
        self.analysis = analysis
        """The model's operations and what each costs; None of a finished file, and of an export's plans."""
        self._made = made

    @property
    def passed(self) -> bool:
        """Whether the chosen candidate, or the file, keeps every budget that is known without accuracy data."""
        return self._made.passed if isinstance(self._made, ExportOutcome) else self._made.feasible

    @property
    def checks(self) -> Checks:
        """The chosen candidate's predictions held against the limits; the checks of a finished file."""
        return self._made.checks if isinstance(self._made, ExportOutcome) else Checks(self._made.checks)

    @property
    def chosen(self) -> Candidate | None:
        """The candidate to export: the nearest one where nothing fits, None where there is none at all."""
        return self.plan.chosen if self.plan else None

    @property
    def rejected(self) -> tuple[Rejection, ...]:
        """Candidates that were rejected, each with its reason."""
        return self.plan.rejected if self.plan else ()

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit plan --json` prints."""
        return self._made.to_json()

    def headline(self) -> str:
        """Returns the device and what was chosen for it."""
        if isinstance(self._made, ExportOutcome):
            return self._made.headline()
        chosen = f"{self._made.chosen.runtime} {self._made.chosen.recipe.name}" if self._made.chosen else "nothing"
        return f"plan for {self._made.device}: {chosen}"

    def failures(self) -> Sequence[str]:
        """Returns why a finished file could not be run."""
        return self.finished.failures() if self.finished else ()

    def facts(self) -> Sequence[tuple[str, str]]:
        """Returns the reasons; the file and its size."""
        if isinstance(self._made, ExportOutcome):
            return self._made.facts()
        return [("why", reason) for reason in self._made.reasons]


@final
class ExportOutcome(Outcome):
    """What came of an export or a validation.

    Args:
        made: The record that report.json holds.
        plans: One for each format that was requested, or the one that chose; none of a validation.
        strict: Inconclusive checks and warnings fail too.
        kept: The temporary output folder that lives as long as this object, None where the caller named one.
    """

    def __init__(
        self,
        made: ExportReport,
        plans: Sequence[Plan] = (),
        *,
        strict: bool = False,
        kept: TemporaryFolder | None = None,
    ) -> None:
        self.report = made
        """The typed record behind `to_json()`."""
        self.plans = tuple(PlanOutcome(plan) for plan in plans)
        """One for each format that was requested, or the one that chose."""
        self.strict = strict
        """Whether inconclusive checks and warnings fail too."""
        self._kept = kept

    @property
    def passed(self) -> bool:
        """Whether every format that was requested exists and keeps the budget."""
        return self.report.passed(strict=self.strict)

    @property
    def checks(self) -> Checks:
        """The checks of all formats by name."""
        return Checks(check for result in self.report.results for check in result.checks)

    @property
    def plan(self) -> PlanOutcome | None:
        """The plan that was carried out; the first of them where several formats were requested."""
        return self.plans[0] if self.plans else None

    @property
    def folder(self) -> Path:
        """Where the artifacts and the records about them lie."""
        return self.report.folder

    @property
    def artifacts(self) -> Mapping[str, Artifact]:
        """The artifacts that were made, by format."""
        return {result.runtime: result.artifact for result in self.report.results if result.artifact is not None}

    @property
    def formats(self) -> Mapping[str, FormatResult]:
        """All that is known about each format that was requested: checks, predictions, timings, notes, its error."""
        return {result.runtime: result for result in self.report.results}

    @property
    def errors(self) -> Mapping[str, EdgekitError]:
        """Why a format could not be made or run, by format."""
        return {result.runtime: result.error for result in self.report.results if result.error is not None}

    def to_json(self) -> dict[str, Any]:
        """Returns what `--json` prints, and what report.json holds."""
        return self.report.to_json(strict=self.strict)

    def headline(self) -> str:
        """Returns the command, the device and the formats."""
        formats = ", ".join(f"{result.runtime} {result.recipe.name}" for result in self.report.results)
        return f"{self.report.command} for {self.report.device}: {formats}"

    def failures(self) -> Sequence[str]:
        """Returns the formats that could not be made or run."""
        return [f"{runtime}: {error.message}" for runtime, error in self.errors.items()]

    def facts(self) -> Sequence[tuple[str, str]]:
        """Returns the artifacts' files and sizes."""
        return [(str(artifact.path), format_bytes(artifact.size_bytes)) for artifact in self.artifacts.values()]


@final
class GateOutcome(Outcome):
    """The verdict on an export folder, on one artifact or on a sweep.

    Args:
        result: The typed record.
        strict: Inconclusive checks and warnings fail too.
    """

    def __init__(self, result: GateResult | SweepGate, *, strict: bool = False) -> None:
        self.result = result
        """The typed record behind `to_json()`."""
        self.strict = strict
        """Whether inconclusive checks and warnings fail too."""

    @property
    def passed(self) -> bool:
        """Whether every format was made and keeps every budget."""
        return self.result.passed(strict=self.strict)

    @property
    def checks(self) -> Checks:
        """The checks of all formats, judged by today's limits."""
        return Checks(self.result.checks)

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit gate --json` prints."""
        return self.result.to_json(strict=self.strict)

    def headline(self) -> str:
        """Returns the folder and the device."""
        return f"gate of {self.result.folder} for {self.result.device}"

    def failures(self) -> Sequence[str]:
        """Returns the formats, or combinations of a sweep, that could not be made or run."""
        return self.result.failures


@final
class BenchOutcome(Observation):
    """A measurement: it is no verdict, so it always passes.

    Args:
        made: The measurement and its file.
    """

    def __init__(self, made: Benchmark) -> None:
        self.measurement = made.measurement
        """Latency, load time and memory, and where they were measured."""
        self._made = made

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit bench --json` prints."""
        return self._made.to_json()

    def headline(self) -> str:
        """Returns the artifact, the place and the latency."""
        latency = format_milliseconds(self.measurement.latency.value_ms)
        return f"bench of {self.measurement.artifact.file} on {self.measurement.place}: {latency}"


@final
class DebugOutcome(Observation):
    """Where an artifact departs from its float model: it is no verdict, so it always passes.

    Args:
        report: The comparison.
    """

    def __init__(self, report: DebugReport) -> None:
        self.report = report
        """The comparison, layer by layer."""

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit debug --json` prints."""
        return self.report.to_json()

    def headline(self) -> str:
        """Returns the artifact and the first layer that departs."""
        first = self.report.first_departure
        return f"debug: {'no layer departs' if first is None else f'departs first at {first.node}'}"


@final
class LadderOutcome(Outcome):
    """The ladder of precisions, and the export of the rung that it recommends.

    Args:
        run: The typed record.
        strict: Inconclusive checks and warnings fail too.
    """

    def __init__(self, run: LadderRun, *, strict: bool = False) -> None:
        self.ladder = run.ladder
        """The rungs, the cliff and the choice."""
        self.exported = None if run.exported is None else ExportOutcome(run.exported, strict=strict)
        """The export of the best rung; None where no output folder was named or no rung keeps the budget."""
        self._run = run
        self._strict = strict

    @property
    def passed(self) -> bool:
        """Whether a rung keeps the budget."""
        return self._run.exit_code(strict=self._strict) == 0

    @property
    def checks(self) -> Checks:
        """The checks of the rung that is recommended."""
        return Checks(self.ladder.chosen.checks if self.ladder.chosen is not None else ())

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit ladder --json` prints."""
        return self._run.to_json(strict=self._strict)

    def headline(self) -> str:
        """Returns the device, the format and the rung."""
        chosen = self.ladder.chosen.name if self.ladder.chosen is not None else "no rung keeps the budget"
        return f"ladder of {self.ladder.request.runtime} for {self.ladder.request.profile.name}: {chosen}"


@final
class SearchOutcome(Outcome):
    """Variants of a model, trained and measured.

    Args:
        result: The typed record.
    """

    def __init__(self, result: SearchResult) -> None:
        self.result = result
        """The variants, the Pareto front and the recommendation."""

    @property
    def passed(self) -> bool:
        """Whether a variant keeps every budget."""
        return self.result.recommended is not None

    @property
    def checks(self) -> Checks:
        """The checks of the variant that is recommended."""
        best = self.result.recommended
        return Checks(best.measured.checks if best is not None and best.measured is not None else ())

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit search --json` prints."""
        return self.result.to_json()

    def headline(self) -> str:
        """Returns the variant that is recommended."""
        best = self.result.recommended
        return f"search: {'no variant keeps every budget' if best is None else best.title}"


@final
class SweepOutcome(Outcome):
    """Many models on many devices.

    Args:
        result: The typed record.
        strict: Inconclusive checks and warnings fail too.
    """

    def __init__(self, result: SweepResult, *, strict: bool = False) -> None:
        self.result = result
        """The rows, and what is still missing."""
        self._strict = strict

    @property
    def passed(self) -> bool:
        """Whether every combination has a row and every model passes on each device."""
        return self.result.passed(strict=self._strict)

    @property
    def checks(self) -> Checks:
        """The checks of all rows."""
        return Checks(check for row in self.result.rows for check in row.checks)

    def failures(self) -> Sequence[str]:
        """Returns combinations that could not be made or run, each with its reason."""
        return tuple(f"{row.title}: {row.message}" for row in self.result.rows if row.status == "failed")

    def to_json(self) -> dict[str, Any]:
        """Returns what `edgekit sweep --json` prints."""
        return self.result.to_json(strict=self._strict)

    def headline(self) -> str:
        """Returns how many rows are there, and how many of them pass."""
        passing = sum(row.passed(strict=self._strict) for row in self.result.rows)
        return f"sweep: {len(self.result.rows)} of {len(self.result.keys)} rows, {passing} pass"
