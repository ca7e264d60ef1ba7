"""`edgekit validate`: run an artifact, also one made elsewhere, and check the budgets."""

from __future__ import annotations

from dataclasses import replace

from edgekit.cli import options
from edgekit.cli.export import show_report
from edgekit.exporting.validation_request import request_validation, run_validation
from edgekit.terminal.console import write_json


def validate(
    artifact: options.Artifact,
    device: options.Device = None,
    model: options.FloatModel = None,
    config: options.Config = None,
    *,
    data: options.Data,
    signature: options.Signature = None,
    metric: options.Metric = None,
    limits: options.Limits,
    measurements: options.Measurements = None,
    without: options.Without = None,
    strict: options.Strict = False,
    workers: options.Workers,
    no_cache: options.NoCache = False,
    screen: options.Screen,
    verbose: options.Verbose = False,
) -> int:
    """Run an artifact in its own runtime, compare it with its float model, and check the device's budgets.

    Without a model there is nothing to compare with: size and memory are judged, accuracy is not measured and does not
    pass. The artifact runs on the data that is given, else on made-up values; a file with free sizes asks for --input.
    """
    request, artifact_data = request_validation(
        artifact,
        model=model,
        device=device,
        config=config,
        limits=limits.texts(),
        overrides=data.overrides(metric),
        input_sizes=data.inputs or (),
        without=without or (),
    )
    from edgekit.cli.settings import pipeline_settings

    with pipeline_settings(screen, workers, no_cache=no_cache, jobs=1) as (settings, _):
        report = run_validation(
            artifact,
            request,
            data=artifact_data,
            measurements=measurements or (),
            settings=replace(settings, signature=signature or request.task.signature),
        )
    if screen.as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=screen.quiet, verbose=verbose, no_color=screen.no_color)
    return report.exit_code(strict=strict)
