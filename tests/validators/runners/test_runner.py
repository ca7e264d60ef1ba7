import json
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.samples import Samples, write_samples
from edgekit.validators.runner_process import RUNNER
from edgekit.validators.runners import executorch_session, opened_artifact, reference_session, runner, tflite_session


def spec(name="x", shape=(1, 3), dtype="int8", scale=None, zero_point=None):
    return {
        "name": name,
        "shape": list(shape),
        "dtype": dtype,
        "layout": None,
        "scale": scale,
        "zero_point": zero_point,
    }


def run_as_script(*options):
    return subprocess.run(
        [sys.executable, str(RUNNER), *options], capture_output=True, text=True, check=False, timeout=60
    )


def test_without_a_record_file_the_record_goes_to_standard_output(tmp_path):
    ran = run_as_script("--runtime=onnx", f"--artifact={tmp_path / 'none.onnx'}")
    message = f"{tmp_path / 'none.onnx'}: no such file. Give the path of an artifact."
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"] == {"kind": "ArtifactError", "message": message}
    assert ran.stderr == message + "\n"


def test_a_run_whose_parent_was_killed_before_it_began_ends(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    session, artifact = tmp_path / "session.py", tmp_path / "net.fake"
    session.write_text("import time\ntime.sleep(50)\n")
    artifact.touch()
    options = (f"--session={session}", "--runtime=fake", f"--artifact={artifact}", f"--parent={gone.pid}")
    ran = run_as_script(*options)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "")


def test_a_runtime_without_a_session_file_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("x")
    assert run_as_script("--runtime=tensorrt", f"--artifact={path}").stderr == (
        f"No session file {RUNNER.parent / 'tensorrt_session.py'}: copy it there, or name it with --session FILE.\n"
    )


def test_a_folder_without_samples_is_named(tmp_path):
    with pytest.raises(runner.RunError) as caught:
        runner.SampleFolder(tmp_path)
    assert caught.value.kind == "DataError"
    assert caught.value.message == f"{tmp_path}: no samples.json there; expected a sample folder of edgekit's."


def test_the_runner_and_its_sessions_import_nothing_of_edgekit_but_the_evaluator_and_the_check_of_programs():
    allowed = {
        "runner.py": {"from edgekit.validators.runners.opened_artifact import ("},
        "coreml_session.py": {
            "from edgekit.validators import coreml_evaluator",
            "from edgekit.validators.coreml_evaluator import colour_of, load, read_package, suppressed_names",
        },
        "reference_session.py": {"from edgekit.torch_program.program_archive import load_program"},
    }
    for path in RUNNER.parent.glob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        found = {line for line in lines if line.startswith(("import ", "from ")) and "edgekit" in line}
        assert found == allowed.get(path.name, set())


@pytest.mark.parametrize("path", sorted(RUNNER.parent.glob("*.py")), ids=lambda path: path.name)
def test_python_39_can_read_it(path):
    ran = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--target-version=py39", "--select=F", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


@given(
    values=arrays(np.float32, (1, 3), elements=st.floats(-100, 100, width=32)),
    scale=st.floats(0.01, 2.0),
    zero_point=st.integers(-128, 127),
)
def test_quantizing_and_turning_back_is_within_half_a_step_where_it_is_not_clipped(values, scale, zero_point):
    facts = spec(scale=scale, zero_point=zero_point)
    back = opened_artifact.dequantized(facts, opened_artifact.stored(Path("m"), facts, values))
    low, high = scale * (-128 - zero_point), scale * (127 - zero_point)
    expected = np.clip(values, low, high)
    assert np.abs(back - expected).max() <= scale * 0.501 + 1e-4


@given(st.permutations(range(5)))
def test_names_set_the_order_whatever_the_runtimes_order_is(order):
    actual = [spec(f"t{k}") for k in order]
    places, described = opened_artifact.ordered(actual, [spec(f"t{k}") for k in range(5)])
    assert [actual[place]["name"] for place in places] == [f"t{k}" for k in range(5)]
    assert [item["name"] for item in described] == [f"t{k}" for k in range(5)]


def test_another_number_of_expected_tensors_leaves_the_runtimes_own():
    actual = [spec("a"), spec("b")]
    assert opened_artifact.ordered(actual, [spec("c")]) == ([0, 1], actual)


def test_of_outputs_that_are_named_the_others_are_left_out():
    actual = [spec("classLabel"), spec("classLabel_probs")]
    places, described = opened_artifact.ordered(actual, [spec("classLabel_probs")], some=True)
    assert places == [1]
    assert [item["name"] for item in described] == ["classLabel_probs"]
    assert opened_artifact.ordered(actual, [spec("other")], some=True) == ([0, 1], actual)
    assert opened_artifact.ordered(actual, [], some=True) == ([0, 1], actual)


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        pytest.param(np.float32(3), (1,), id="scalar"),
        pytest.param(np.zeros(4), (1, 4), id="no leading 1"),
        pytest.param(np.zeros((2, 1, 8)), (1, 2, 1, 8), id="states of two layers"),
        pytest.param(np.zeros((1, 8)), (1, 8), id="a row already"),
    ],
)
def test_every_output_becomes_a_row(array, shape):
    (row,) = runner.as_rows([opened_artifact.dequantized(spec(dtype="float32"), np.asarray(array))])
    assert row.shape == shape


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_floats_come_back_as_float32(dtype):
    assert opened_artifact.dequantized(spec(dtype=dtype), np.zeros((1, 2), dtype)).dtype == np.float32


def test_ids_come_back_as_they_are():
    assert opened_artifact.dequantized(spec(dtype="int64"), np.array([[7]])).dtype == np.int64


def test_an_error_of_edgekits_own_keeps_its_words():
    from edgekit.errors import ArtifactError

    error = opened_artifact.foreign(ArtifactError("The operator foo is missing."), Path("net.onnx"), "wrapped")
    assert (error.kind, error.message) == ("ArtifactError", "net.onnx: The operator foo is missing.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("two\n  lines", "two lines.", id="lines"),
        pytest.param("", "ValueError.", id="nothing said"),
        pytest.param("Done!", "Done!", id="ends already"),
        pytest.param("x" * 500, "x" * 400 + " ...", id="long"),
    ],
)
def test_what_a_runtime_says_becomes_one_line(text, expected):
    assert runner.brief(ValueError(text)) == expected


def test_written_outputs_open_as_samples(tmp_path):
    samples = write_samples(tmp_path / "in", ["x"], ((np.full((1, 3), i, np.float32),) for i in range(4)))
    session = SimpleNamespace(
        inputs=[spec(dtype="float32")],
        outputs=[spec("y", dtype="float32")],
        metadata={},
        run=lambda given: [2 * given[0]],
    )
    (tmp_path / "m").write_text("x")
    artifact = runner.OpenArtifact(
        SimpleNamespace(open=lambda path: session, name="n", version="v"), tmp_path / "m", {}
    )
    runner.write_outputs(artifact, runner.SampleFolder(samples.folder), tmp_path / "out", runner.Progress(None))
    outputs = Samples.open(tmp_path / "out")
    assert (outputs.count, outputs.items, outputs.names) == (4, 4, ("y",))
    np.testing.assert_array_equal(outputs.arrays()[0], 2 * np.asarray(samples.arrays()[0]))


class Interpreter:
    """TFLite's interface over tensors that lie in the file in another order than the signature's."""

    def __init__(self, names, signatures=1):
        self._names = names
        self._signatures = signatures

    def get_signature_list(self):
        return {f"s{i}": {} for i in range(self._signatures)}

    def get_signature_runner(self, key):
        details = {name: {"index": 100 + i} for i, name in enumerate(self._names)}
        return SimpleNamespace(get_input_details=lambda: details, get_output_details=lambda: details)


def details(count):
    return [{"name": f"serving_default_{i}", "index": 100 + i} for i in range(count)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(
            [f"args_{i}" for i in (10, 2, 0, 1, 9, 3, 4, 5, 6, 7, 8)], [f"args_{i}" for i in range(11)], id="numbered"
        ),
        pytest.param(["tokens", "mask"], ["tokens", "mask"], id="named by a person: the file's own order"),
        pytest.param(["x2", "y1"], ["x2", "y1"], id="numbers of different stems"),
    ],
)
def test_a_signatures_tensors_come_in_call_order(names, expected):
    found = tflite_session._in_call_order(Interpreter(names), details(len(names)), "inputs")
    assert [detail["name"] for detail in found] == expected


@pytest.mark.parametrize(
    "interpreter",
    [
        pytest.param(Interpreter(["a", "b"], signatures=2), id="several signatures"),
        pytest.param(Interpreter([], signatures=0), id="no signature"),
        pytest.param(SimpleNamespace(), id="an interpreter without signatures"),
        pytest.param(Interpreter(["a"]), id="a signature over other tensors"),
        pytest.param(
            SimpleNamespace(get_signature_list=lambda: {"s": {}}), id="an interpreter that cannot describe signatures"
        ),
    ],
)
def test_without_a_usable_signature_the_files_own_order_stands(interpreter):
    found = tflite_session._in_call_order(interpreter, details(2), "outputs")
    assert [detail["name"] for detail in found] == ["serving_default_0", "serving_default_1"]


def test_an_interpreter_that_does_not_tell_its_operators_gives_none():
    session = object.__new__(tflite_session.Session)
    session._interpreter = SimpleNamespace()
    assert session.operators() is None


@given(st.binary(min_size=8, max_size=200))
def test_metadata_of_any_bytes_is_read_or_empty(data):
    found = tflite_session._text_buffers(data)
    assert all(isinstance(value, str) for value in found.values())


def test_a_free_size_is_resized_to_the_data():
    calls = []
    session = object.__new__(tflite_session.Session)
    session._interpreter = SimpleNamespace(
        resize_tensor_input=lambda index, shape: calls.append(("resize", index, shape)),
        allocate_tensors=lambda: calls.append(("allocate",)),
        set_tensor=lambda index, array: calls.append(("set", index, array.shape)),
        invoke=lambda: calls.append(("invoke",)),
        get_tensor=lambda index: np.zeros(1),
    )
    session._inputs = [{"index": 5, "shape": np.array([1, 1])}]
    session._outputs = [{"index": 6}]
    session.run([np.zeros((1, 7), np.float32)])
    session.run([np.zeros((1, 7), np.float32)])
    assert calls == [("resize", 5, (1, 7)), ("allocate",), *[("set", 5, (1, 7)), ("invoke",)] * 2]


def test_a_program_without_forward_is_refused():
    program = SimpleNamespace(num_methods=lambda: 2, get_method_name=lambda i: ["encode", "decode"][i])
    pytest.importorskip("torch")
    with pytest.raises(ValueError) as caught:
        executorch_session.Session(program, "net.pte")
    assert str(caught.value) == "it has no method forward, only decode, encode"


def test_a_saved_model_without_its_usual_signature_is_refused():
    tensorflow = SimpleNamespace(
        saved_model=SimpleNamespace(load=lambda path: SimpleNamespace(signatures={"train": None}))
    )
    with pytest.raises(ValueError) as caught:
        reference_session.SavedModelSession(tensorflow, "saved")
    assert str(caught.value) == "it has no signature serving_default, only train"


def test_a_session_that_was_not_copied_is_named():
    with pytest.raises(ImportError) as caught:
        reference_session._load_sibling("none_session")
    assert str(caught.value) == f"{RUNNER.parent / 'none_session.py'} is missing"


def test_outputs_of_a_saved_model_are_sorted_by_their_number():
    names = ["output_10", "output_2", "output_0", "logits"]
    assert sorted(names, key=reference_session._by_number) == ["logits", "output_0", "output_2", "output_10"]


def test_the_metadata_of_a_flatbuffer_is_its_text_buffers():
    # Written from the back: strings, tables and vectors as TFLite's schema lays them out.
    found = tflite_session._text_buffers(flatbuffer({"labels": b"a,b\0", "binary": b"\xff\xfe"}))
    assert found == {"labels": "a,b"}


def flatbuffer(entries):
    """Returns a TFLite model with nothing but metadata, through the flatbuffers package."""
    flatbuffers = pytest.importorskip("flatbuffers")
    builder = flatbuffers.Builder(0)
    buffers, metadata = [], []
    for number, (name, content) in enumerate(entries.items()):
        data = builder.CreateByteVector(content)
        builder.StartObject(3)
        builder.PrependUOffsetTRelativeSlot(0, data, 0)
        buffers.append(builder.EndObject())
        text = builder.CreateString(name)
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, text, 0)
        builder.PrependUint32Slot(1, number, 0)
        metadata.append(builder.EndObject())

    def vector(tables):
        builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    buffer_vector, metadata_vector = vector(buffers), vector(metadata)
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(4, buffer_vector, 0)
    builder.PrependUOffsetTRelativeSlot(6, metadata_vector, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def test_a_flatbuffer_that_ends_early_has_no_metadata():
    assert tflite_session._text_buffers(struct.pack("<I", 4000)) == {}


def test_edgekits_entry_in_a_tflite_file_is_spread_out_as_in_the_other_formats():
    entry = json.dumps({"io": {"inputs": [], "outputs": []}, "metadata": {"labels": "a,b"}})
    assert tflite_session._unpacked({"edgekit": entry, "other": "x"}) == {
        "other": "x",
        "labels": "a,b",
        "edgekit.io": '{"inputs": [], "outputs": []}',
    }


@pytest.mark.parametrize("entry", ["not JSON", "[]", "{}", '{"metadata": 3}', '{"metadata": {}}'])
def test_somebody_elses_entry_of_that_name_stays_as_it_is(entry):
    assert tflite_session._unpacked({"edgekit": entry}) == {"edgekit": entry}


@pytest.mark.parametrize("text", ["[" * 200_000, "1" * 5000, "[1]", "null", "x", ""])
def test_somebody_elses_entry_under_edgekits_name_is_passed_over(text):
    assert opened_artifact.described_in({opened_artifact.IO_KEY: text}) == {}
    assert tflite_session._unpacked({"edgekit": text}) == {"edgekit": text}


def test_what_a_third_party_s_session_needs_is_installed_from_where_it_came(tmp_path):
    session = tmp_path / "own_session.py"
    session.write_text("PACKAGES = 'own-tools'\nclass Runtime:\n    def __init__(self, *_): raise ImportError('own')\n")
    with pytest.raises(runner.RunError) as caught:
        runner.load_runtime(session, tmp_path / "a.own", "", 1)
    assert caught.value.message == (
        "Running a.own needs own-tools, which cannot be imported: own. Install it: pip install own-tools"
    )


def state(**changes):
    return {
        "name": "s", "input": "s", "output": "s_next", "shape": [2], "dtype": "float32", "initial": [1.0],
        "buffer": "s", "held": False, **changes,
    }  # fmt: skip


def test_states_go_from_the_outputs_of_a_call_to_the_inputs_of_the_next():
    inputs = [spec("s", (2,), "float32"), spec("x", (1, 3), "float32")]
    outputs = [spec("y", (1, 3), "float32"), spec("s_next", (2,), "float32")]
    carried = opened_artifact.CarriedStates([state()], inputs, outputs)
    carried.begin()
    x = np.zeros((1, 3), np.float32)
    assert [array.tolist() for array in carried.filled([x])] == [[1.0, 1.0], x.tolist()]
    carried.keep([x, np.float32([[5.0, 6.0]])])
    assert carried.filled([x])[0].tolist() == [5.0, 6.0]
    carried.begin()
    assert carried.filled([x])[0].tolist() == [1.0, 1.0]


def test_states_that_the_artifact_keeps_are_no_inputs():
    carried = opened_artifact.CarriedStates([state(held=True)], [spec("x")], [spec("y")])
    carried.begin()
    assert carried.places == set()
    assert carried.names == {"s"}


@pytest.mark.parametrize(
    "described",
    [[{"name": "s"}], [state(initial=[1.0, 2.0, 3.0])], [state(dtype="nothing")], "text", [state(input=3)]],
    ids=["few keys", "other size", "no dtype", "no list", "no name"],
)
def test_somebody_elses_description_of_states_counts_as_none(described):
    assert opened_artifact.states_in({opened_artifact.IO_KEY: json.dumps({"states": described})}) == []


def test_a_file_with_several_signatures_asks_for_one(tmp_path):
    known = {"encode": "x -> y", "decode": "y -> x"}
    with pytest.raises(runner.RunError) as caught:
        opened_artifact.chosen_signature(tmp_path / "two.tflite", known, "")
    assert caught.value.kind == "UsageError"
    assert caught.value.message == (
        "two.tflite has 2 signatures, and one is run at a time:\n  encode: x -> y\n  decode: y -> x\n"
        "Choose one: --signature encode"
    )


def test_a_signature_that_a_file_has_not_is_answered_with_those_that_it_has(tmp_path):
    with pytest.raises(runner.RunError) as caught:
        opened_artifact.chosen_signature(tmp_path / "two.tflite", {"encode": "", "decode": ""}, "run")
    assert caught.value.message == 'two.tflite has no signature "run". It has:\n  encode\n  decode'


def test_a_signature_of_a_file_without_any_is_refused(tmp_path):
    with pytest.raises(runner.RunError) as caught:
        opened_artifact.chosen_signature(tmp_path / "net.onnx", {}, "run")
    assert caught.value.message == 'net.onnx has no signatures, and "run" was asked for. Omit --signature.'


def test_one_signature_needs_no_name(tmp_path):
    assert opened_artifact.chosen_signature(tmp_path / "net.tflite", {"main": ""}, "") == ""
    assert opened_artifact.chosen_signature(tmp_path / "net.tflite", {"main": ""}, "main") == "main"
