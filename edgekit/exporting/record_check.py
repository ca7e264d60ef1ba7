"""Whether a report says what its artifacts and its lock say: records are checked, not believed.

Size, download and hash of each artifact are measured again; its settings and what it computes with are read from its
file again (`record_of_file.py`). What takes a run of the artifact must stand in `edgekit.lock` with the same figures.
Figures that differ from run to run (memory, timings) are in no lock; a hash in the report holds all of its figures
together. Whoever edits report and lock alike is found by `edgekit gate --remeasure`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgekit.budget import EVERY_CHECK, RECIPE_SOURCE, SOUNDNESS_SOURCE
from edgekit.exporting.record_of_file import contradictions_of_file
from edgekit.validators.stored_facts.kept_facts import read_with_cache
from edgekit.workers.cache import Cache
from edgekit.workers.kept_downloads import measure_with_cache

_UNSTEADY: Final = ("memory", "latency", "latency_p95")
"""Figures that differ from run to run on one machine, unless they were predicted."""

_FIGURE: Final = ("value", "low", "high", "unit", "basis")


def figures_digest(formats: Sequence[Mapping[str, Any]]) -> str:
    """Returns the SHA-256 of all that was measured of all formats, as `report.json` holds it."""
    # As it is read back: keys are text then, which sorts otherwise than numbers do.
    measured = json.loads(json.dumps([{key: entry[key] for key in ("checks", "host")} for entry in formats]))
    return hashlib.sha256(json.dumps(measured, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def locked_figures(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of checks (their JSON form) that the same inputs give again, by name."""
    return {check["name"]: _locked_figure(check) for check in checks if _is_steady(check)}


def _is_steady(check: Mapping[str, Any]) -> bool:
    return check["name"] not in _UNSTEADY or check["basis"] == "predicted"


def _locked_figure(check: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: check[key] for key in _FIGURE}
    if check["value"] is None:
        found["verdict"] = check["verdict"]
    if check["limit_from"] in (RECIPE_SOURCE, SOUNDNESS_SOURCE):
        found |= {"limit": check["limit"], "level": check["level"]}
    return found


def find_contradictions(
    report: Mapping[str, Any], lock: Mapping[str, Any], folder: Path, cache: Cache | None = None
) -> tuple[str, ...]:
    """Returns one sentence for each thing that the report says otherwise than its artifacts or the lock.

    Args:
        report: Content of `report.json`.
        lock: Content of `edgekit.lock`.
        folder: Where both lie.
        cache: May know what an artifact's bytes deflate to and hold, by their SHA-256.
    """
    found = [*_facts(report, lock), *_formats(report, lock)]
    made = [entry for entry in report["formats"] if entry["artifact"] is not None]
    if len(made) != len(lock["artifacts"]):
        found.append(f"report.json is about {len(made)} artifacts, the lock about {len(lock['artifacts'])}")
    for entry, locked in zip(made, lock["artifacts"], strict=False):
        found += _artifact(entry, locked, report, lock, folder, cache)
    if report["checks"] != [check for entry in report["formats"] for check in entry["checks"]]:
        found.append("report.json: the checks differ from those of its formats")
    if report["artifacts"] != [entry["artifact"] for entry in made]:
        found.append("report.json: the artifacts differ from those of its formats")
    if not found and report["figures_sha256"] != figures_digest(report["formats"]):
        found.append("report.json: a figure was changed: figures_sha256 belongs to other figures")
    return tuple(dict.fromkeys(found))


def _facts(report: Mapping[str, Any], lock: Mapping[str, Any]) -> Iterator[str]:
    if report["device"] != lock["device"]:
        yield f"report.json says device {report['device']}, the lock says {lock['device']}"
    reported, locked = report["model"], lock["model"]
    if (reported is None) != (locked is None):
        yield "report.json and the lock do not agree on whether there was a model"
    elif reported is not None and locked is not None:
        for key in ("source", "digest", "embedded_default"):
            if reported[key] != locked[key]:
                yield f"report.json says model.{key} {reported[key]}, the lock says {locked[key]}"
    if report["data"] != lock["data"]:
        yield "report.json says other data than the lock"


def _formats(report: Mapping[str, Any], lock: Mapping[str, Any]) -> Iterator[str]:
    reported = [(x["runtime"], x["precision"], x["error"] is not None) for x in report["formats"]]
    locked = [(x["runtime"], x["precision"], x["failed"]) for x in lock["formats"]]
    if reported != locked:
        shown = [", ".join(f"{r} {p}{' (failed)' if f else ''}" for r, p, f in x) or "none" for x in (reported, locked)]
        yield f"report.json has the formats {shown[0]}; the lock has {shown[1]}"


def _artifact(
    entry: Mapping[str, Any],
    locked: Mapping[str, Any],
    report: Mapping[str, Any],
    lock: Mapping[str, Any],
    folder: Path,
    cache: Cache | None,
) -> Iterator[str]:
    artifact, name = entry["artifact"], locked["file"]
    if Path(artifact["path"]).name != name:
        yield f"report.json says the file {artifact['path']}, the lock says {name}"
        return
    path = folder / artifact["path"]
    if not path.exists():
        yield f"{path} is gone, but report.json has measured it"
        return
    size, download, digest = measure_with_cache(path, cache)
    if digest != artifact["sha256"]:
        yield (
            f"{path} has changed since it was measured: its SHA-256 is {digest[:12]}, report.json says "
            f"{artifact['sha256'][:12]}"
        )
        return
    if locked["sha256"] != digest:
        yield f"{name}: its SHA-256 is {digest[:12]}, the lock says {locked['sha256'][:12]}"
    checks = {check["name"]: check for check in entry["checks"]}
    yield from _measured_again(name, {"size": size, "download": download}, artifact, locked, checks)
    facts = read_with_cache(entry["runtime"], path, digest, cache)
    if facts is not None:
        yield from contradictions_of_file(name, path, facts, entry, report["model"], lock["io"])
    for key in ("runtime", "recipe", "steps"):
        if entry[key] != locked[key]:
            yield f"{name}: report.json says another {key} than the lock"
    for key in ("runtime", "precision"):
        if artifact[key] != entry[key]:
            yield f"{name}: report.json says {key} {artifact[key]} of the artifact and {entry[key]} of its format"
    # An artifact that could not be run has no figures, and its error fails the gate.
    yield from _figures(name, checks, locked, required=EVERY_CHECK if entry["error"] is None else ())


def _measured_again(
    name: str,
    measured: Mapping[str, int],
    artifact: Mapping[str, Any],
    locked: Mapping[str, Any],
    checks: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    for cost, found in measured.items():
        reported = [("report.json", artifact[f"{cost}_bytes"])]
        if cost in checks:
            reported.append(("report.json", checks[cost]["value"]))
        if cost == "size":
            reported.append(("the lock", locked["size_bytes"]))
        for source, value in reported:
            if value != found:
                yield f"{name}: {source} says {cost} {_shown(value)}, the file has {found} bytes"


def _figures(
    name: str, checks: Mapping[str, Mapping[str, Any]], locked: Mapping[str, Any], *, required: Sequence[str]
) -> Iterator[str]:
    for missing in sorted({*locked["checks"], *required} - set(checks)):
        yield f"{name}: report.json has no check {missing}; every export writes one"
    for added in sorted(set(checks) - set(locked["checks"])):
        yield f"{name}: report.json has a check {added}, which is not in the lock"
    for check, figure in locked["measurements"].items():
        if check not in checks:
            continue
        if not _is_steady(checks[check]):
            yield f"{name}: report.json says {check} is {checks[check]['basis']}, the lock says {figure['basis']}"
            continue
        reported = _locked_figure(checks[check])
        for key in sorted(set(reported) | set(figure)):
            if reported.get(key) != figure.get(key) or (key in reported) != (key in figure):
                what = check if key == "value" else f"{check}.{key}"
                values = f"{_shown(reported.get(key))}, the lock says {_shown(figure.get(key))}"
                yield f"{name}: report.json says {what} {values}"
    for check in sorted(set(checks) & set(locked["checks"]) - set(locked["measurements"])):
        if _is_steady(checks[check]):
            yield f"{name}: report.json says {check} is {checks[check]['basis']}, the lock has no such figure"


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
