"""Several jobs that do not wait for each other: on an engine, or one after the other in this process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from edgekit.engines import batch
from edgekit.engines.batch import run_all
from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import ModelError, UsageError
from edgekit.pipeline.settings import Settings
from edgekit.workers.worker import Job, JobOptions, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    value: int


def double(request: Number, _progress: Progress) -> Number:
    if request.value == 2:
        raise ModelError("not two")
    return Number(value=2 * request.value)


def here(value: int) -> int:
    return double(Number(value=value), lambda *_: None).value


def work(value: int) -> Work:
    options = JobOptions(title=str(value))
    return Work(name=str(value), job=Job(work=double), request=Number(value=value), options=options)


@dataclass
class Backwards(Engine):
    """Ends what was submitted last first."""

    slots: int = 2
    running: list[Work] = field(default_factory=list[Work])
    most: int = 0
    cancelled: int = 0

    def submit(self, work: Work) -> None:
        self.running.append(work)
        self.most = max(self.most, len(self.running))

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        work = self.running.pop()
        try:
            return (Ended(name=work.name, value=here(work.request.value)),)
        except ModelError as error:
            return (Ended(name=work.name, error=error),)

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Backwards:
    made = Backwards()
    monkeypatch.setattr(batch, "find_engine", lambda *_: made)
    return made


def reported(results: list[int | Exception]) -> list[object]:
    return [str(one) if isinstance(one, Exception) else one for one in results]


def test_results_come_in_the_order_of_the_items_and_an_error_is_one(engine: Backwards) -> None:
    ended: list[int] = []
    found = run_all([1, 2, 3, 4], Settings(jobs=2), here=here, work=work, over=lambda item, _: ended.append(item))
    assert reported(found) == [2, "not two", 6, 8]
    assert ended == [2, 3, 4, 1]
    assert (engine.most, engine.cancelled) == (2, 1)


def test_one_job_at_a_time_on_this_machine_is_done_in_this_process(engine: Backwards) -> None:
    ended: list[int] = []
    found = run_all([1, 2, 3], Settings(jobs=1), here=here, work=work, over=lambda item, _: ended.append(item))
    assert reported(found) == [2, "not two", 6]
    assert ended == [1, 2, 3]
    assert engine.most == 0


def test_one_job_at_a_time_elsewhere_goes_there(engine: Backwards) -> None:
    run_all([1], Settings(jobs=1, engine="ray"), here=here, work=work)
    assert engine.most == 1


def test_ctrl_c_ends_the_jobs(engine: Backwards) -> None:
    settings = Settings(jobs=2)
    settings.cancelled.set()
    with pytest.raises(KeyboardInterrupt):
        run_all([1, 3, 4, 5], settings, here=here, work=work)
    assert engine.cancelled == 1


def test_an_engine_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match=r'^--engine "slurm" is not known: accepted are local, ray\.$'):
        run_all([1], replace(Settings(), engine="slurm"), here=here, work=work)
