"""The job of the engines' contract: a function of a module, so that any process with edgekit finds it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import final

from edgekit.errors import ModelError
from edgekit.workers.request_key import Place
from edgekit.workers.worker import Progress

FAILURE = "This job was requested to fail."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRequest:
    """What a job of the contract does.

    Attributes:
        pids: Folder in which it leaves a file with its process id as the name.
        sleep_s: Seconds that it takes.
        fails: It raises ModelError.
    """

    pids: Place
    sleep_s: float = 0.0
    fails: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ContractResult:
    """What it returns: the id of its process."""

    pid: int


def work(request: ContractRequest, _progress: Progress) -> ContractResult:
    """Leaves its process id, sleeps, and fails where that is requested.

    Raises:
        ModelError: a failure was requested.
    """
    (request.pids / str(os.getpid())).touch()
    time.sleep(request.sleep_s)
    if request.fails:
        raise ModelError(FAILURE)
    return ContractResult(pid=os.getpid())
