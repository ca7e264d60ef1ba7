"""What every format promises: its descriptor is whole, its converter writes all or nothing, its artifacts run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgekit import registry
from edgekit.analysis.finished_file import read_finished
from edgekit.artifact import Artifact, measure_files, runtime_of
from edgekit.converters.base import Conversion, ConversionRequest, Converter, converter
from edgekit.debugging.inspector import ArtifactInspector, open_inside
from edgekit.errors import ArtifactError, ConversionError, DataError
from edgekit.formats.format import Format
from edgekit.formats.table import find_format, resource_folder, session_file
from edgekit.model import CapturedKind
from edgekit.plugins import load
from edgekit.recipe import Precision, Recipe
from edgekit.samples import Samples
from edgekit.testing.tiny_fixture import tiny_model
from edgekit.testing.tiny_models import TinyModel
from edgekit.validators.artifact_operators import ArtifactOperator
from edgekit.validators.execution import collect_evidence, describe_artifact
from edgekit.validators.output_statistics import sqnr_db
from edgekit.validators.runner_process import RunSettings
from edgekit.validators.stored_facts.facts import read_stored_facts
from edgekit.workers.structure import structure, unstructure
from edgekit.workers.worker import silent

_CHILD = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from edgekit.converters.base import ConversionRequest, converter
from edgekit.model import CapturedModel
from edgekit.recipe import Recipe
from edgekit.workers.structure import structure
from edgekit.workers.worker import silent
asked = json.load(sys.stdin)
request = ConversionRequest(
    model=structure(asked["model"], CapturedModel, "model"), recipe=Recipe.from_json(asked["recipe"]),
    calibration=Path(asked["calibration"]), metadata=asked["metadata"], scratch=Path(asked["scratch"]),
)
converter(asked["runtime"]).run(request, Path(asked["output"]), silent)
"""
"""A conversion in another process."""

METADATA: Mapping[str, str] = {"labels": "cat,dog"}


class FormatContract:
    """Inherit it as `class TestName(FormatContract)`.

    Class attributes:
        name: The format, as its entry point calls it.
        cases: (tiny model, precision) to convert; the first is run, the last is written twice.
        least_db: What the first case's artifact keeps of the float model at least, in dB of signal to noise.
        refused: A kind of captured model that its converter does not take.
        suite_runs: Its runtime is installed where the suite runs; False leaves out what runs artifacts.
    """

    name: ClassVar[str]
    cases: ClassVar[tuple[tuple[str, Precision], ...]] = (("two_inputs", "fp32"),)
    least_db: ClassVar[float] = 60.0
    refused: ClassVar[CapturedKind] = "tflite"
    suite_runs: ClassVar[bool] = True

    pytestmark = pytest.mark.filterwarnings("ignore")  # frameworks warn while they convert

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Runs what takes a `case` over all of them."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids="-".join)

    @pytest.fixture(scope="class")
    def converted(self, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """Returns a function from a case to (path, what the converter said), converted once."""

        @cache
        def run(case: tuple[str, Precision]) -> tuple[Path, Conversion]:
            return self.convert(tiny_model(case[0]), case[1], tmp_path_factory.mktemp("artifact"))

        return run

    def convert(self, tiny: TinyModel, precision: Precision, folder: Path, **changes: Any) -> tuple[Path, Conversion]:
        """Returns (path, what the converter said) of a tiny model in `folder`."""
        scratch = folder / "scratch"
        scratch.mkdir(exist_ok=True)
        request = ConversionRequest(
            model=tiny.model,
            recipe=Recipe(default=precision),
            calibration=tiny.samples.folder,
            metadata=METADATA,
            scratch=scratch,
        )
        output = folder / f"model{self.format().suffix}"
        return output, converter(self.name).run(replace(request, **changes), output, silent)

    def format(self) -> Format:
        """Returns the descriptor."""
        return find_format(self.name)

    def artifact(self, path: Path, conversion: Conversion, precision: str) -> Artifact:
        """Returns the facts of a converted file."""
        size, download, digest = measure_files(path)
        return Artifact(
            path=path,
            runtime=self.name,
            precision=precision,
            size_bytes=size,
            download_bytes=download,
            sha256=digest,
            inputs=conversion.inputs,
            outputs=conversion.outputs,
        )

    # The descriptor.

    def test_it_is_registered_under_its_name(self) -> None:
        assert self.name in registry.format_names()
        assert self.format().name == self.name

    def test_its_converter_is_one_and_its_own(self) -> None:
        found = converter(self.name)
        assert isinstance(found, Converter)
        assert found.runtime == self.name
        assert getattr(type(found), "__final__", False), "a class is abstract or final"

    def test_every_other_part_that_it_names_is_there(self) -> None:
        made = self.format()
        assert session_file(self.name).is_file()
        if made.inspector:
            assert issubclass(load(made.inspector), ArtifactInspector)
        if made.graph_reader:
            assert callable(load(made.graph_reader))
        if made.accelerators:
            assert list(resource_folder(made.accelerators).glob("*.toml"))
        if made.snippets:
            folder = resource_folder(made.snippets.templates)
            missing = [name for name in made.snippets.words if not (folder / f"{self.name}.{name}.jinja").is_file()]
            assert missing == []

    def test_its_suffix_is_nobody_else_s(self) -> None:
        suffix = self.format().suffix
        assert suffix.startswith(".")
        assert suffix == suffix.lower()
        assert [name for name in registry.format_names() if find_format(name).suffix == suffix] == [self.name]

    def test_a_precision_that_a_plan_can_name_is_taken_or_refused_with_a_reason(self) -> None:
        requested: tuple[Precision, ...] = (
            "fp32",
            "fp16",
            "int8_static",
            "int8_dynamic",
            "int8_weights",
            "int4_weights",
        )
        reasons = [converter(self.name).why_not("pt2", Recipe(default=precision)) for precision in requested]
        assert None in reasons, "a format that takes no precision of a torch model is of no use"
        assert all(reason is None or reason.strip() for reason in reasons)

    # Conversion.

    def test_inputs_and_outputs_keep_order_and_shape(self, converted: Any, case: tuple[str, Precision]) -> None:
        _, conversion = converted(case)
        captured = tiny_model(case[0]).model
        assert [spec.shape for spec in conversion.inputs] == [spec.shape for spec in captured.inputs]
        assert [spec.shape for spec in conversion.outputs] == [spec.shape for spec in captured.outputs]
        assert all(spec.dtype in {"float32", "int32", "int64"} for spec in conversion.inputs)

    def test_the_description_counts_operators(self, converted: Any, case: tuple[str, Precision]) -> None:
        _, conversion = converted(case)
        assert conversion.operators
        assert all(count > 0 for count in conversion.operators.values())

    def test_the_description_survives_json(self, converted: Any, case: tuple[str, Precision]) -> None:
        _, conversion = converted(case)
        assert structure(json.loads(json.dumps(unstructure(conversion))), Conversion, "conversion") == conversion

    def test_nothing_but_the_artifact_is_left_behind(self, converted: Any, case: tuple[str, Precision]) -> None:
        output, _ = converted(case)
        assert sorted(path.name for path in output.parent.iterdir()) == sorted([output.name, "scratch"])
        assert runtime_of(output) == self.name

    def test_the_same_request_gives_the_same_bytes(self, converted: Any, tmp_path: Path) -> None:
        model, precision = self.cases[-1]
        again, _ = self.convert(tiny_model(model), precision, tmp_path)
        assert measure_files(again) == measure_files(converted(self.cases[-1])[0])

    def test_another_process_in_another_folder_writes_the_same_bytes(self, converted: Any, tmp_path: Path) -> None:
        """What `edgekit verify --rebuild` rests on."""
        first, _ = converted(self.cases[-1])
        tiny, second = tiny_model(self.cases[-1][0]), tmp_path / first.name
        requested = {
            "runtime": self.name,
            "model": unstructure(tiny.model),
            "recipe": Recipe(default=self.cases[-1][1]).to_json(),
            "calibration": str(tiny.samples.folder),
            "metadata": dict(METADATA),
            "scratch": str(tmp_path / "scratch"),
            "output": str(second),
        }
        (tmp_path / "scratch").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=json.dumps(requested),
            # Another order of sets and dictionaries' hashes than here: it may not be seen in the bytes.
            env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert measure_files(second) == measure_files(first)

    def test_a_conversion_leaves_model_and_samples_alone(self, tmp_path: Path) -> None:
        tiny = tiny_model(self.cases[0][0])
        files = [tiny.model.path, *sorted(tiny.samples.folder.iterdir())]
        before = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        self.convert(tiny, self.cases[0][1], tmp_path)
        assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in files] == before
        assert sorted(tiny.samples.folder.iterdir()) == files[1:]

    def test_a_model_that_it_does_not_take_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        tiny, precision = tiny_model(self.cases[0][0]), self.cases[0][1]
        with pytest.raises(ConversionError) as caught:
            self.convert(tiny, precision, tmp_path, model=replace(tiny.model, kind=self.refused))
        title = f"{self.name} {Recipe(default=precision).name}"
        assert caught.value.message.startswith(f"{tiny.model.source} cannot become {title}: ")
        assert [path.name for path in tmp_path.iterdir()] == ["scratch"]

    def test_static_ranges_need_calibration_data(self, tmp_path: Path) -> None:
        recipe = Recipe(default="int8_static")
        if converter(self.name).why_not("pt2", recipe):
            pytest.skip(f"{self.name} has no static ranges, and says why")
        with pytest.raises(DataError) as caught:
            self.convert(tiny_model(self.cases[0][0]), "int8_static", tmp_path, calibration=None)
        reported = f"{self.name} int8-static needs calibration data and the task names none."
        assert caught.value.message.startswith(reported)
        assert [path.name for path in tmp_path.iterdir()] == ["scratch"]

    # The runner session.

    def test_the_artifact_computes_what_the_float_model_does(self, converted: Any, tmp_path: Path) -> None:
        self._needs_the_runtime()
        path, conversion = converted(self.cases[0])
        tiny = tiny_model(self.cases[0][0])
        evidence = collect_evidence(
            self.artifact(path, conversion, self.cases[0][1]),
            folder=tmp_path,
            evaluation=tiny.samples,
            pieces=("memory", "outputs"),
            settings=RunSettings(timeout_s=300.0),
        )
        assert isinstance(evidence.outputs, Samples), evidence.missing
        assert evidence.runtime
        for made, wanted in zip(evidence.outputs.arrays(), tiny.outputs(), strict=True):
            assert sqnr_db(np.asarray(wanted), np.asarray(made)) >= self.least_db

    def test_the_runtime_tells_what_lies_in_the_file(self, converted: Any) -> None:
        self._needs_the_runtime()
        path, conversion = converted(self.cases[0])
        described = describe_artifact(path, settings=RunSettings(timeout_s=300.0))
        assert described.runtime == self.name
        assert sorted(spec.name for spec in described.inputs) == sorted(spec.name for spec in conversion.inputs)
        assert sorted(spec.name for spec in described.outputs) == sorted(spec.name for spec in conversion.outputs)
        assert described.metadata.get("labels") == METADATA["labels"]

    def test_its_file_says_what_its_runtime_reports(
        self, converted: Any, case: tuple[str, Precision], tmp_path: Path
    ) -> None:
        """What a gate holds records against without running anything."""
        self._needs_the_runtime()
        if not self.format().facts_reader:
            pytest.skip(f"{self.name} has no reader of files")
        path, conversion = converted(case)
        facts = read_stored_facts(self.name, path)
        assert facts is not None
        assert facts.metadata.items() >= METADATA.items()
        if facts.is_exact:
            evidence = collect_evidence(
                self.artifact(path, conversion, case[1]),
                folder=tmp_path,
                evaluation=tiny_model(case[0]).samples,
                pieces=("outputs",),
                settings=RunSettings(timeout_s=300.0),
            )
            assert _work_of(facts.operators) == _work_of(evidence.operators)

    # Readers of finished files.

    def test_its_graph_reader_counts_what_the_file_computes(self, converted: Any) -> None:
        if not self.format().graph_reader:
            pytest.skip(f"{self.name} brings no graph reader")
        path, conversion = converted(self.cases[0])
        found = read_finished(self.format().graph_reader, path, {})
        wanted = [spec.shape for spec in conversion.inputs]
        assert [found.analysis.tensors[name].shape for name in found.analysis.inputs] == wanted
        assert len(found.analysis.outputs) == len(conversion.outputs)
        assert found.analysis.macs > 0
        assert found.analysis.parameters > 0
        assert found.recipe.default == self.cases[0][1]

    def test_its_inspector_ends_with_the_outputs_of_the_float_model(self, converted: Any) -> None:
        self._needs_the_runtime()
        if not self.format().inspector:
            pytest.skip(f"{self.name} brings no inspector")
        path, _ = converted(self.cases[0])
        tiny = tiny_model(self.cases[0][0])
        inside = open_inside(self.name, path, 1)
        rows = [[array[i : i + 1] for array in tiny.samples.arrays()] for i in range(tiny.samples.items)]
        values = inside.run(rows[0])
        assert inside.how
        assert set(values) <= {tensor.name for tensor in inside.tensors}
        assert set(inside.inputs) <= {tensor.name for tensor in inside.tensors if tensor.operator == "input"}
        for name, wanted in zip(inside.outputs, tiny.outputs(), strict=True):
            made = values[name].reshape(wanted[:1].shape)
            assert sqnr_db(np.asarray(wanted[:1]), made) >= self.least_db

    def test_a_damaged_file_is_refused_by_name(self, tmp_path: Path) -> None:
        self._needs_the_runtime()
        path = tmp_path / f"broken{self.format().suffix}"
        path.write_bytes(b"this is no artifact")
        with pytest.raises(ArtifactError) as caught:
            describe_artifact(path, settings=RunSettings(timeout_s=300.0))
        assert path.name in caught.value.message

    def _needs_the_runtime(self) -> None:
        if not self.suite_runs:
            pytest.skip(f"the runtime of {self.name} is not run here")


def _work_of(operators: Iterable[ArtifactOperator]) -> list[tuple[object, ...]]:
    """Returns what a verdict reads of the operators that multiply, in order of size."""
    return sorted((x.arithmetic, x.macs or 0, x.weights, x.weight_bits, x.scales) for x in operators if x.multiplies)
