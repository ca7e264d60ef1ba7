"""Measurement files: written, read, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import DataError, ResourceError
from edgekit.measurements.latency_figures import figures_of
from edgekit.measurements.measurement import read_measurement, write_measurement
from edgekit.measurements.measurement_file import check_measurement


def test_a_file_is_read_as_it_was_written(tmp_path: Path, measurement: Any) -> None:
    path = tmp_path / "m.json"
    write_measurement(measurement(), path)
    again = read_measurement(path)
    assert again.to_json() == measurement().to_json()
    assert again.path == path
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]
    assert next(iter(json.loads(path.read_text()))) == "schema_version"


@given(samples=st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=60))
def test_every_measurement_passes_its_own_check(samples: list[float], measurement: Any) -> None:
    data = json.loads(json.dumps(measurement(latency=figures_of(samples)).to_json(), allow_nan=False))
    assert check_measurement(Path("m.json"), data).latency.value_ms == pytest.approx(figures_of(samples).value_ms)


@pytest.fixture
def written(tmp_path: Path, measurement: Any) -> Any:
    """Writes a measurement file whose content was changed by hand."""

    def write(change: Any) -> Path:
        data = measurement().to_json()
        change(data)
        path = tmp_path / "m.json"
        path.write_text(json.dumps(data))
        return path

    return write


def test_keys_of_a_later_edgekit_are_passed_over(written: Any, measurement: Any) -> None:
    path = written(lambda data: data.update(weather="fine"))
    assert read_measurement(path).to_json() == measurement().to_json()


def test_all_faults_are_reported_at_once(written: Any) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["schema_version"] = 2
        data["latency"]["value_ms"] = -1
        data["artifact"]["sha256"] = "xyz"
        del data["host"]

    path = written(spoil)
    message = (
        f"{path} has 4 faults:\n"
        "  schema_version: 2 was given; expected 1, the only schema that this edgekit reads\n"
        "  host: missing; expected the machine in its own words\n"
        '  artifact.sha256: "xyz" was given; expected 64 hexadecimal digits: the artifact\'s SHA-256\n'
        "  latency.value_ms: -1 was given; expected a positive number of milliseconds\n"
        "Measure again with: edgekit bench ARTIFACT -o FILE"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_measurement(path)


def test_a_figure_outside_of_its_interval_is_refused(written: Any) -> None:
    path = written(lambda data: data["latency"].update(value_ms=1.0))
    message = (
        f"{path} has 1 fault:\n  the file: latency: value_ms must lie between low_ms and high_ms: the file was changed "
        "by hand\nMeasure again with: edgekit bench ARTIFACT -o FILE"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_measurement(path)


@pytest.mark.parametrize("text", ["{}", "[1]", "hello", '{"kind": "else"}'], ids=["empty", "list", "text", "other"])
def test_another_file_is_no_measurement(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    message = (
        f'{path}: not a measurement file of edgekit (no "kind": "edgekit measurement"). The output of benchmark_model '
        "or a profile of Qualcomm AI Hub becomes one with: "
        "edgekit bench ARTIFACT --from FILE --device NAME -o NEW.json"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_measurement(path)


def test_a_file_that_is_not_there_or_no_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    message = f"{path}: no such file. Give a measurement file that edgekit bench -o wrote."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_measurement(path)
    message = f"{tmp_path} is a folder; expected a file."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_measurement(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    message = f"{path} is not text: the byte at position 0 is not UTF-8. Save it as UTF-8."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_measurement(path)


def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path: Path, measurement: Any) -> None:
    path = tmp_path / "none" / "m.json"
    message = (
        f"The measurement file {path} cannot be written: No such file or directory. Give another one with --output."
    )
    with pytest.raises(ResourceError, match=f"^{re.escape(message)}$"):
        write_measurement(measurement(), path)
