"""`edgekit search`: train variants of a model, measure them, and show which one to take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.console import console, write_json
from edgekit.cli.options import (
    Config,
    Device,
    Format,
    JsonOption,
    MaxDownload,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MemoryLimit,
    NoCache,
    NoColor,
    PrecisionOption,
    Quiet,
    Timeout,
    Verbose,
    limit_texts,
)
from edgekit.errors import UsageError
from edgekit.task.request import make_request

DEFAULT_OUTPUT = Path("edgekit-search")

Epochs = Annotated[int, typer.Option("--epochs", min=0, help="Epochs of the finalists; 0: as [training] says.")]
Trials = Annotated[int, typer.Option("--trials", min=1, help="Variants that are trained at most.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of weights and batches.")]
LearningRate = Annotated[float, typer.Option("--learning-rate", help="The highest one.")]
OptimizerOption = Annotated[str, typer.Option("--optimizer", help="sgd or adamw.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for search.json and the Pareto front's models and artifacts.")
]


def search(
    device: Device = None,
    output: Output = DEFAULT_OUTPUT,
    config: Config = None,
    formats: Format = None,
    precision: PrecisionOption = None,
    epochs: Epochs = 0,
    trials: Trials = 16,
    seed: Seed = 0,
    learning_rate: LearningRate = 0.1,
    optimizer: OptimizerOption = "sgd",
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    timeout: Timeout = 1800.0,
    memory_limit: MemoryLimit = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
    no_cache: NoCache = False,
) -> int:
    """Train variants of a model (width, depth, resolution), measure them on their runtime, and compare.

    [search] in the task file lists parameters of your own functions with their values. What cannot keep the device's
    budget is turned down before it is trained; the rest is trained by successive halving, exported and run. Exit code:
    0 if a variant keeps every budget, 1 if none does, 2 wrong input, 3 this machine cannot.
    """
    if optimizer not in ("sgd", "adamw"):
        raise UsageError(f'--optimizer "{optimizer}" is not known: accepted are sgd, adamw.')
    if not learning_rate > 0:
        raise UsageError(f"--learning-rate {learning_rate:g} was given; expected more than 0.")
    request = make_request(
        model=None,
        device=device,
        config=config,
        formats=formats,
        precision=precision,
        limits=limit_texts(max_size, max_download, max_memory, max_latency, max_drop),
    )
    from edgekit.cli.search_text import SearchText
    from edgekit.cli.settings import pipeline_settings
    from edgekit.searching.run import SearchRequest
    from edgekit.searching.run import search as run
    from edgekit.workers.output_folder import output_folder

    with (
        output_folder(output),
        pipeline_settings(
            show_progress=not (quiet or as_json),
            no_color=no_color,
            no_cache=no_cache,
            jobs=1,  # training takes every core
            timeout_s=timeout,
            memory_limit=memory_limit,
        ) as (settings, display),
    ):
        asked = SearchRequest(
            task=request.task,
            profile=request.profile,
            budget=request.budget,
            formats=request.formats,
            precision=request.precision,
            epochs=epochs,
            trials=trials,
            seed=seed,
            learning_rate=learning_rate,
            optimizer="adamw" if optimizer == "adamw" else "sgd",
        )
        result = run(asked, output, settings, display.done)
    if as_json:
        write_json(result.to_json())
    else:
        screen = console(no_color=no_color)
        text = SearchText(result=result, folder=output, config=config, width=screen.width)
        for part in text.verdict() if quiet else text.story(verbose=verbose):
            screen.print(part, soft_wrap=isinstance(part, str))
    return 0 if result.recommended is not None else 1
