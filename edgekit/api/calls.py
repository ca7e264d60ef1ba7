"""How arguments of the API become what the request functions take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgekit.in_memory.options import Device, Devices, PathText
from edgekit.profiles.profile import DeviceProfile, find_profile
from edgekit.recipe import Step
from edgekit.results.outcomes import PlanOutcome

if TYPE_CHECKING:
    from edgekit.techniques.base import Technique
    from edgekit.trials.choice import PlanFile

Result = TypeVar("Result")


def for_each_device(
    device: Device | Devices | None, one: Callable[[Device | None, str], Result]
) -> Result | dict[str, Result]:
    """Returns what `one(device, "")` gives, or for several devices a dict by their names."""
    if device is None or isinstance(device, (str, DeviceProfile)):
        return one(device, "")
    profiles = [item if isinstance(item, DeviceProfile) else find_profile(item, Path.cwd()) for item in device]
    return {profile.name: one(profile, profile.name) for profile in profiles}


def format_text(formats: str | Sequence[str] | None) -> str | None:
    """Returns the formats as the one text that the command line takes."""
    return formats if formats is None or isinstance(formats, str) else ",".join(formats)


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
        return PlanFile(path=Path("The plan"), plan=given.plan)
    return read_plan_file(Path(given), decided=decided)
