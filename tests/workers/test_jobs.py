"""All jobs of edgekit: typed on both sides, and nothing is lost on the way between two processes."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgekit
from edgekit.recipe import Step
from edgekit.workers.structure import is_value, structure, unstructure
from edgekit.workers.worker import Job, types_of

ROOT = Path(edgekit.__file__).parent
_DECLARED = re.compile(r"^(\w+): Final = Job\(work=", re.MULTILINE)

st.register_type_strategy(Path, st.text("abc/.", min_size=1).map(Path))
st.register_type_strategy(float, st.floats(allow_nan=False))  # NaN is not equal to itself
st.register_type_strategy(
    Step,
    st.builds(Step, settings=st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=3)),
)
st.register_type_strategy(Mapping, lambda kind: st.dictionaries(*map(st.from_type, get_args(kind)), max_size=3))


def all_jobs() -> dict[str, Job[Any, Any]]:
    found: dict[str, Job[Any, Any]] = {}
    for folder in (ROOT, ROOT / "converters", ROOT / "validators"):
        for path in folder.rglob("*.py"):
            for name in _DECLARED.findall(path.read_text(encoding="utf-8")):
                module = importlib.import_module(".".join(("edgekit", *path.relative_to(ROOT).with_suffix("").parts)))
                found[f"{module.__name__}:{name}"] = getattr(module, name)
    return found


JOBS = all_jobs()
VALUES = {kind.__qualname__: kind for job in JOBS.values() for kind in types_of(job.work)}


def test_the_jobs_are_found() -> None:
    assert {name.rpartition(":")[2] for name in JOBS} >= {
        "ANALYZE", "APPLY", "CAPTURE", "COMPARE", "CONVERT", "FINGERPRINT", "IMPORT", "LOOK", "MATERIALIZE", "MEASURE",
        "SIMULATE", "TRAIN",
    }  # fmt: skip


def test_every_job_is_declared_as_one_of_them() -> None:
    texts = [path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")]
    assert sum(text.count(": Final = Job(work=") for text in texts) == len(JOBS)


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_takes_a_value_and_returns_one(job: Job[Any, Any]) -> None:
    request, result = types_of(job.work)
    assert is_value(request)
    assert is_value(result)
    module, _, name = job.entry.partition(":")
    assert getattr(importlib.import_module(module), name) is job.work


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_no_path_of_a_request_is_without_a_meaning(job: Job[Any, Any]) -> None:
    request = types_of(job.work)[0]
    bare = [name for name, hint in get_type_hints(request, include_extras=True).items() if hint in (Path, Path | None)]
    assert bare == []


@pytest.mark.parametrize("kind", VALUES.values(), ids=VALUES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_request_and_result_comes_back_as_it_was(kind: type, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    assert structure(json.loads(json.dumps(unstructure(value))), kind, "value") == value
