"""A search from the request to its result: what the command line and the Python API both call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.pipeline.settings import Settings
    from edgekit.searching.result import SearchResult
    from edgekit.task.request import Request

DEFAULT_FOLDER: Final = Path("edgekit-search")
"""Where a search is written to, where nobody says."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How variants are trained.

    Attributes:
        epochs: Epochs of the finalists; 0 for as many as the task names.
        trials: Variants that are trained at most.
        seed: Random seed of weights and batches.
        learning_rate: The highest one.
        optimizer: `sgd` or `adamw`.
    """

    epochs: int = 0
    trials: int = 16
    seed: int = 0
    learning_rate: float = 0.1
    optimizer: str = "sgd"

    def check(self) -> None:
        """Checks the values before any work.

        Raises:
            UsageError: another optimizer, or a learning rate that is not above 0.
        """
        if self.optimizer not in ("sgd", "adamw"):
            raise UsageError(f'--optimizer "{self.optimizer}" is not known: accepted are sgd, adamw.')
        if not self.learning_rate > 0:
            raise UsageError(f"--learning-rate {self.learning_rate:g} was given; expected more than 0.")


def run_search(
    request: Request, options: SearchOptions, folder: Path, settings: Settings, done: Callable[[str, str], None]
) -> SearchResult:
    """Trains, exports and measures variants, and writes the search into `folder`.

    Raises:
        InputError: the task, an option or the user's code is wrong.
        MachineError: this machine cannot.
    """
    from edgekit.searching.run import SearchRequest, search
    from edgekit.workers.output_folder import output_folder

    options.check()
    requested = SearchRequest(
        task=request.task,
        profile=request.profile,
        budget=request.budget,
        formats=request.formats,
        precision=request.precision,
        epochs=options.epochs,
        trials=options.trials,
        seed=options.seed,
        learning_rate=options.learning_rate,
        optimizer="adamw" if options.optimizer == "adamw" else "sgd",
    )
    with output_folder(folder):
        return search(requested, folder, settings, done)
