"""How arguments of the API become what the request functions take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, final

from edgekit.errors import UsageError
from edgekit.in_memory.options import Device, Devices, PathText
from edgekit.profiles.profile import DeviceProfile
from edgekit.recipe import Step
from edgekit.results.outcomes import PlanOutcome

if TYPE_CHECKING:
    from edgekit.task.request import Request
    from edgekit.task.task import Task
    from edgekit.techniques.base import Technique
    from edgekit.trials.choice import PlanFile

Result = TypeVar("Result")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What is requested for one device, or for each of several; made before any work, so that mistakes show at once.

    Attributes:
        each: One request for each device.
        several: The caller gave a list of devices, and gets a dict.
    """

    each: tuple[Request, ...]
    several: bool

    @staticmethod
    def of(device: Device | Devices | None, ask: Callable[[Device | None], Request]) -> Requests:
        """Returns what `ask` makes for the device, or for each of several."""
        if device is None or isinstance(device, (str, DeviceProfile)):
            return Requests(each=(ask(device),), several=False)
        return Requests(each=tuple(map(ask, device)), several=True)

    def run(self, one: Callable[[Request], Result], task: Task | None = None) -> Result | dict[str, Result]:
        """Returns what `one` gives for the request, or for several devices a dict by their names.

        Args:
            one: What is done for a device.
            task: Takes the place of the requests' own: the same task, with what lay in memory in files.
        """
        requested = [request if task is None else _with_task(request, task) for request in self.each]
        return {item.profile.name: one(item) for item in requested} if self.several else one(requested[0])


def _with_task(request: Request, task: Task) -> Request:
    """Returns the request with another task, but with what its artifacts take: that may follow from the device."""
    mine = request.task
    task = replace(task, image_input=mine.image_input, image_input_stated=mine.image_input_stated)
    return replace(request, task=task)


def format_text(formats: str | Sequence[str] | None) -> str | None:
    """Returns the formats as the one text that the command line takes."""
    return formats if formats is None or isinstance(formats, str) else ",".join(formats)


def texts_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """Returns one text or several as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def steps_of(given: str | Step | Technique | Iterable[str | Step | Technique]) -> list[str | Step]:
    """Returns techniques of whatever form as texts and steps."""
    from edgekit.techniques.base import Technique

    several = [given] if isinstance(given, (str, Step, Technique)) else list(given)
    return [item.step() if isinstance(item, Technique) else item for item in several]


def plan_file(given: PathText | PlanOutcome | None, *, decided: bool) -> PlanFile | None:
    """Returns the plan that is to be carried out, and where it lies."""
    from edgekit.trials.choice import PlanFile, check_undecided, read_plan_file

    if given is None:
        return None
    if isinstance(given, PlanOutcome):
        check_undecided(decided=decided)
        if given.plan is None:
            raise UsageError(f"plan is about a finished file: {given.headline()}. There is nothing to carry out.")
        return PlanFile(path=Path("The plan"), plan=given.plan)
    return read_plan_file(Path(given), decided=decided)
