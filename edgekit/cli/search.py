"""`edgekit search`: train variants of a model, measure them, and show which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from edgekit.cli import options
from edgekit.cli.engine_options import Address, EngineName
from edgekit.cli.options import CHOICE, OUTPUT, option
from edgekit.pipeline.settings import LOCAL
from edgekit.searching.request import DEFAULT_FOLDER, SearchOptions, run_search
from edgekit.task.request import make_request
from edgekit.terminal.console import console, write_json

Epochs = Annotated[
    int,
    option(CHOICE, "--epochs", min=0, show_default=True, help="Epochs of the finalists; 0: as [training] says."),
]
Trials = Annotated[int, option(CHOICE, "--trials", min=1, show_default=True, help="Variants that are trained at most.")]
Seed = Annotated[int, option(CHOICE, "--seed", min=0, show_default=True, help="Random seed of weights and batches.")]
LearningRate = Annotated[float, option(CHOICE, "--learning-rate", show_default=True, help="The highest learning rate.")]
Optimizer = Annotated[str, option(CHOICE, "--optimizer", show_default=True, help="sgd or adamw.")]
Output = Annotated[
    Path,
    option(
        OUTPUT, "--output", "-o", show_default=True,
        help="Folder for search.json and the Pareto front's models and artifacts.",
    ),
]  # fmt: skip


def search(
    device: options.Device = None,
    output: Output = DEFAULT_FOLDER,
    config: options.Config = None,
    formats: options.Format = None,
    precision: options.Precision = None,
    epochs: Epochs = 0,
    trials: Trials = 16,
    seed: Seed = 0,
    learning_rate: LearningRate = 0.1,
    optimizer: Optimizer = "sgd",
    engine: EngineName = LOCAL,
    address: Address = None,
    jobs: options.Jobs = 1,
    *,
    limits: options.Limits,
    workers: options.Workers,
    screen: options.Screen,
    verbose: options.Verbose = False,
    no_cache: options.NoCache = False,
) -> int:
    """Train variants of a model (width, depth, resolution), measure them on their runtime, and compare.

    [search] in the task file lists parameters of your own functions with their values. What cannot keep the device's
    budget is rejected before it is trained; the rest is trained by successive halving, exported and run. Exit code:
    0 if a variant keeps every budget, 1 if none does, 2 wrong input, 3 this machine cannot.
    """
    training = SearchOptions(epochs=epochs, trials=trials, seed=seed, learning_rate=learning_rate, optimizer=optimizer)
    training.check()
    request = make_request(
        model=None,
        device=device,
        config=config,
        formats=options.joined(formats),
        precision=precision,
        limits=limits.texts(),
    )
    from edgekit.cli.search_text import SearchText
    from edgekit.cli.settings import pipeline_settings

    # One job unless somebody wants more: each training takes several cores.
    with pipeline_settings(screen, workers, no_cache=no_cache, jobs=jobs, engine=engine, address=address) as (
        settings,
        display,
    ):
        result = run_search(request, training, output, settings, display.done)
    if screen.as_json:
        write_json(result.to_json())
    else:
        out = console(no_color=screen.no_color)
        text = SearchText(result=result, folder=output, config=config, width=out.width)
        for part in text.verdict() if screen.quiet else text.story(verbose=verbose):
            out.print(part, soft_wrap=isinstance(part, str))
    return 0 if result.recommended is not None else 1
