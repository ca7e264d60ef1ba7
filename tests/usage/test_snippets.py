"""The code for the app: what is written for which artifact, and that each language's grammar reads it."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tree_sitter
import tree_sitter_cpp
import tree_sitter_kotlin
import tree_sitter_swift

import edgekit
from edgekit.artifact import Artifact
from edgekit.errors import ResourceError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.report import ExportReport
from edgekit.formats.table import all_formats
from edgekit.model import ArtifactState, Dimension, TensorSpec
from edgekit.plain_text import markdown_text
from edgekit.recipe import Recipe
from edgekit.task.pictures import read_image
from edgekit.task.task import ImagePreprocessing
from edgekit.usage.snippets import usage_files, write_usage

SNIPPETS = {one.name: tuple(one.snippets.words) for one in all_formats() if one.snippets}
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "executorch": ".pte", "coreml": ".mlpackage"}
GRAMMARS = {"kt": tree_sitter_kotlin, "swift": tree_sitter_swift, "cpp": tree_sitter_cpp}
INTEGERS = {"dtype": "int8", "scale": 0.0123, "zero_point": -3}
PIXELS = ImagePreprocessing(resize=256, mean=(123.7, 116.3, 103.5), std=(58.4,), color="bgr")


def artifact(
    runtime: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    labels: str = "",
    preprocessing: ImagePreprocessing | None = None,
    source: str = "model.py:build",
) -> Artifact:
    metadata = {"edgekit.version": "1.0", "edgekit.source": source, "edgekit.precision": "int8-static"}
    if labels:
        metadata["labels"] = labels
    if preprocessing:
        metadata["edgekit.preprocessing"] = json.dumps(preprocessing.to_json())
    return Artifact(
        path=Path(f"net-int8-static{SUFFIXES.get(runtime, '.bin')}"),
        runtime=runtime,
        precision="int8-static",
        size_bytes=1,
        download_bytes=1,
        sha256="",
        inputs=inputs,
        outputs=outputs,
        metadata=metadata,
    )


def tensor(name: str, *shape: int, layout: str | None = None, **facts: Any) -> TensorSpec:
    return TensorSpec(name=name, shape=shape, layout=layout, **{"dtype": "float32", **facts})


def plain(runtime: str) -> Artifact:
    return artifact(runtime, (tensor("x", 1, 8),), (tensor("y", 1, 2),))


def picture(runtime: str) -> Artifact:
    """A classifier with labels and preprocessing; integers at both ends where the format has such."""
    return artifact(
        runtime,
        (tensor("image:0", 1, 3, 24, 32, layout="NCHW", **INTEGERS),),
        (tensor("class", 1, 3, **INTEGERS),),
        labels="cat\ndog\nguinea pig",
        preprocessing=PIXELS,
    )


def grey(runtime: str) -> Artifact:
    image = tensor("image", 1, 24, 32, 1, layout="NHWC")
    return artifact(runtime, (image,), (tensor("mask", 1, 24, 32, 1),), preprocessing=ImagePreprocessing())


def many(runtime: str) -> Artifact:
    """Several inputs and outputs of the types that the runtime's API takes, under unhandy names."""
    integers = "int32" if runtime in ("tflite", "coreml") else "int64"
    flags = () if runtime == "coreml" else (tensor("attention mask", 1, 4, dtype="bool"),)
    return artifact(
        runtime,
        (tensor("return", 1, 8), tensor("token/ids", 1, 4, dtype=integers), tensor("token.ids", 1, 4), *flags),
        (tensor("model", 1, 2), tensor('the "best"\\one', 1, dtype="int32")),
        source='weird\n"""\\ path.py:build */ //',
    )


def resizable(runtime: str) -> Artifact:
    """An input of open sizes; integers at that end, and outputs that follow them and that do not."""
    free = tensor("image", 1, 3, -1, -1, layout="NCHW", axes=("", "", "height", "img_width"), **INTEGERS)
    outputs = (
        tensor("mask", 1, -1, -1, axes=("", "height", "img_width")),
        tensor("boxes", 1, -1, 4, axes=("", "*", "")),
    )
    return artifact(runtime, (free, tensor("scale", 1, 2)), (*outputs, tensor("class", 1, 3)))


SIDES = tuple(Dimension(name=name, min=32, max=96, multiple_of=32, typical=64) for name in ("height", "img_width"))

CASES = {"plain": plain, "picture": picture, "grey": grey, "many": many}


def faults(node: tree_sitter.Node) -> Iterator[str]:
    if node.type == "ERROR" or node.is_missing:
        yield f"line {node.start_point[0] + 1}: {node.type} {node.text!r}"
    for child in node.children:
        yield from faults(child)


def parse(name: str, text: str) -> list[str]:
    language = tree_sitter.Language(GRAMMARS[name.rsplit(".", 1)[1]].language())
    return list(faults(tree_sitter.Parser(language).parse(text.encode()).root_node))


@pytest.mark.parametrize("runtime", SNIPPETS)
def test_the_snippets_of_open_sizes_take_them_with_each_call(runtime: str) -> None:
    files = usage_files([resizable(runtime)], {}, SIDES)
    texts = {name.rsplit(".", 1)[1]: text for name, text in files.items() if name != "README.md"}
    assert set(texts) == set(SNIPPETS[runtime]) - ({"kt"} if runtime == "tflite" else set())
    for language in GRAMMARS.keys() & texts.keys():
        assert parse(f"x.{language}", texts[language]) == []
    if "cpp" in texts:
        assert "std::vector<float>& scale, int height, int img_width) {" in texts["cpp"]
        assert "image.size() != static_cast<std::size_t>(3 * height * img_width)" in texts["cpp"]
    if "kt" in texts:
        assert "longArrayOf(1, 3, height.toLong(), imgWidth.toLong())" in texts["kt"]
    if "swift" in texts:
        assert "height: Int, imgWidth: Int) throws -> Outputs" in texts["swift"]
    assert "Open sizes: height 32 to 96 in steps of 32" in files["README.md"]
    compile(texts["py"], "x.py", "exec")
    assert '"image": (1, 3, 64, 64, ),' in texts["py"]


def test_litert_resizes_in_c_plus_plus_and_the_list_says_why_not_in_kotlin() -> None:
    files = usage_files([resizable("tflite")], {}, SIDES)
    assert "No Kotlin: LiteRT's CompiledModel resizes inputs in C++ and not in Kotlin" in files["README.md"]
    assert "model_.ResizeInputTensor(0, 0, absl::MakeConstSpan(image_shape))" in files["net_int8_static_tflite.cpp"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("runtime", SNIPPETS)
def test_every_snippet_is_read_by_its_languages_grammar(runtime: str, case: str) -> None:
    files = usage_files([CASES[case](runtime)], {"executorch": "1.4.1"})
    sources = {name: text for name, text in files.items() if name not in ("README.md", "labels.txt")}
    assert {name.rsplit(".", 1)[1] for name in sources} == set(SNIPPETS[runtime])
    for name, text in sources.items():
        if name.endswith(".py"):
            assert ast.get_docstring(ast.parse(text))
        else:
            assert parse(name, text) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.kt", "fun f( { return 1 }"), ("a.swift", "func f( -> Int {"), ("a.cpp", "int f( { return 1; }")],
    ids=["kotlin", "swift", "c++"],
)
def test_the_grammars_see_a_wrong_line(name: str, text: str) -> None:
    assert parse(name, text) != []


@pytest.mark.parametrize("runtime", SNIPPETS)
def test_the_files_own_facts_are_in_the_code(runtime: str) -> None:
    made = picture(runtime)
    for name, text in usage_files([made], {}).items():
        if name in ("README.md", "labels.txt", "camera.py"):
            continue
        for fact in (made.path.stem, "123.7", "58.4", "Made by edgekit 1.0 from model.py:build, int8-static."):
            assert fact in text, (name, fact)
        # The program of ExecuTorch knows its tensors by position only.
        assert runtime == "executorch" or '"image:0"' in text
        assert "0.0123" in text
        assert "-3" in text


def test_a_readme_lists_tensors_files_preprocessing_and_labels() -> None:
    files = usage_files([picture("tflite"), picture("onnx")], {})
    text = files["README.md"]
    assert "| input | `image:0` | int8 | (1, 3, 24, 32) | NCHW | 0.0123 | -3 |" in text
    for name in files:
        assert name == "README.md" or f"`{name}`" in text
    assert "Short side resized to 256 pixels, 24 x 32 cut from the centre, BGR" in text
    assert "in the order of `class`: 3 labels, from cat to guinea pig." in text
    assert files["labels.txt"] == "cat\ndog\nguinea pig\n"


def test_names_in_a_readme_are_no_markdown() -> None:
    evil = "a`|<b>[x](http://y)\n# head"
    made = artifact(
        "onnx", (tensor(evil, 1, 8),), (tensor("y", 1, 2),), labels="*cat*\n<img src=x>", source="[m](u).py:b"
    )
    text = usage_files([made], {})["README.md"]
    assert r"| input | ``a`\|<b>[x](http://y) # head`` | float32 |" in text
    assert r"from \*cat\* to \<img src=x\>." in text
    assert "[m](u)" not in text
    assert "\n# head" not in text


def test_a_readme_says_what_is_not_known() -> None:
    files = usage_files([plain("onnx")], {})
    assert "[data.preprocessing]" in files["README.md"]
    assert "None. Name a text file with one label a line" in files["README.md"]
    assert "labels.txt" not in files
    assert not any("preprocess(" in text for name, text in files.items() if name != "README.md")


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        (tensor("image", 1, 3, 24, 32, layout="NCHW"), ImagePreprocessing(resize=36, mean=(127.0,), std=(128.0,))),
        (tensor("image", 1, 24, 32, 3, layout="NHWC"), PIXELS),
        (tensor("image", 1, 1, 28, 28, layout="NCHW"), ImagePreprocessing()),
        (tensor("image", 1, 3, 24, 32, layout="NCHW"), ImagePreprocessing(letterbox=True)),
        (tensor("image", 1, 28, 20, 1, layout="NHWC"), ImagePreprocessing(letterbox=True)),
    ],
    ids=["cropped", "bgr", "grey", "letterbox", "grey letterbox"],
)
def test_the_python_code_prepares_pictures_as_edgekit_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: TensorSpec, steps: ImagePreprocessing
) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    made = artifact("onnx", (spec,), (tensor("y", 1, 2),), preprocessing=steps)
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    names: dict[str, Any] = {"__file__": str(tmp_path / "usage" / "a.py"), "__name__": "snippet"}
    exec(usage_files([made], {})["net_int8_static_onnx.py"], names)
    assert np.array_equal(names["preprocess"](tmp_path / "a.png"), read_image(tmp_path / "a.png", spec, steps))


def test_labels_that_fit_no_output_are_kept_and_not_used() -> None:
    made = artifact("onnx", (tensor("x", 1, 8),), (tensor("boxes", 1, 84, 100),), labels="cat\ndog")
    files = usage_files([made], {})
    assert "2 labels. No output has that many entries in its last axis" in files["README.md"]
    assert "labels" not in files["net_int8_static_onnx.py"].lower()


@pytest.mark.parametrize(
    ("runtime", "spec", "missing", "reason"),
    [
        (
            "onnx",
            tensor("half", 1, 2, dtype="float16"),
            {"kt", "cpp"},
            'No Kotlin: the tensor "half" is float16, which this API does not take.',
        ),
        (
            "tflite",
            tensor("any", -1, 2),
            {"kt", "py", "cpp"},
            'No Python: the tensor "any" has no fixed shape: (-1, 2).',
        ),
        (
            "onnx",
            tensor("$x", 1, 2),
            {"kt"},
            'No Kotlin: the tensor "$x" has a dollar in its name, which a Kotlin string does not take as it is.',
        ),
    ],
    ids=["dtype", "shape", "dollar"],
)
def test_a_tensor_that_an_api_does_not_take_costs_the_snippet_with_a_reason(
    runtime: str, spec: TensorSpec, missing: set[str], reason: str
) -> None:
    files = usage_files([artifact(runtime, (spec,), (tensor("y", 1, 2),))], {})
    written = {name.rsplit(".", 1)[1] for name in files if name != "README.md"}
    assert written == set(SNIPPETS[runtime]) - missing
    assert f"- {markdown_text(reason)}\n" in files["README.md"]


def test_a_third_partys_runtime_has_no_snippet_and_says_so() -> None:
    files = usage_files([artifact("ncnn", (tensor("x", 1, 8),), (tensor("y", 1, 2),))], {})
    assert list(files) == ["README.md"]
    assert "There is no snippet for ncnn: its format brings no templates." in files["README.md"]


def report(folder: Path, *artifacts: Artifact) -> ExportReport:
    results = tuple(FormatResult(runtime=x.runtime, recipe=Recipe(default="fp32"), artifact=x) for x in artifacts)
    return ExportReport(command="export", device="pi4", model=None, results=results, folder=folder)


def test_the_folder_is_written_beside_the_artifacts_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / "mine.txt").write_text("mine")
    assert write_usage(report(tmp_path, plain("coreml"))) == tmp_path / "usage"
    assert sorted(path.name for path in (tmp_path / "usage").iterdir()) == [
        "NetInt8StaticCoreml.swift",
        "README.md",
        "mine.txt",
        "net_int8_static_coreml.py",
    ]
    assert f"Written by edgekit {edgekit.__version__} " in (tmp_path / "usage" / "README.md").read_text()


def test_nothing_is_written_where_there_is_no_artifact(tmp_path: Path) -> None:
    assert write_usage(report(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "usage").write_text("a file")
    expected = f"{tmp_path / 'usage'} cannot be written: File exists. Give another folder with --output."
    with pytest.raises(ResourceError, match=f"^{re.escape(expected)}$"):
        write_usage(report(tmp_path, plain("onnx")))


def keeper(runtime: str, *, held: bool) -> Artifact:
    """A model with two states: inputs and outputs, or kept by the file itself."""
    states = (
        ArtifactState(
            name="state_keys", input="state_keys", output="state_keys_next", shape=(1, 4), dtype="float32",
            initial=(0.5,), buffer="keys", held=held,
        ),
        ArtifactState(
            name="h", input="h", output="g", shape=(3,), dtype="float32", initial=(1.0, 2.0, 3.0), held=held
        ),
    )  # fmt: skip
    fed = (tensor("state_keys", 1, 4), tensor("h", 3)), (tensor("state_keys_next", 1, 4), tensor("g", 3))
    inputs, outputs = ((), ()) if held else fed
    made = artifact(runtime, (tensor("x", 1, 8), *inputs), (tensor("y", 1, 2), *outputs))
    return replace(made, states=states)


@pytest.mark.parametrize("runtime", ["tflite", "onnx", "executorch", "coreml"])
def test_the_code_feeds_states_back_and_lets_them_begin_anew(runtime: str) -> None:
    files = usage_files([keeper(runtime, held=False)], {})
    for name, text in files.items():
        suffix = name.rpartition(".")[2]
        assert suffix not in GRAMMARS or parse(name, text) == []
        if suffix != "md":
            assert "step(" in text
            assert "reset(" in text
    assert "feed the output `state_keys_next` to the input `state_keys` of the next call" in files["README.md"]


@pytest.mark.parametrize("runtime", ["executorch", "coreml"])
def test_states_that_the_file_keeps_are_no_arguments(runtime: str) -> None:
    files = usage_files([keeper(runtime, held=True)], {})
    for name, text in files.items():
        suffix = name.rpartition(".")[2]
        assert suffix not in GRAMMARS or parse(name, text) == []
        if suffix != "md":
            assert "reset(" in text
            assert "state_keys" not in text
    assert "the file keeps `keys` [1, 4] from call to call itself" in files["README.md"]


def test_the_python_code_carries_states_from_call_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    text = usage_files([keeper("onnx", held=False)], {})["net_int8_static_onnx.py"]
    names: dict[str, Any] = {"__name__": "snippet", "__file__": "usage/snippet.py"}
    exec(text, names)
    made = object.__new__(names["NetInt8StaticOnnx"])

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        return {"y": arrays["x"], "state_keys_next": arrays["state_keys"] + 1, "g": arrays["h"] * 2}

    made.run = run
    made.reset()
    assert list(made.step({"x": 1})) == ["y"]
    made.step({"x": 1})
    assert made._states["state_keys"].tolist() == [[2.5, 2.5, 2.5, 2.5]]
    assert made._states["h"].tolist() == [4.0, 8.0, 12.0]
    made.reset()
    assert made._states["h"].tolist() == [1.0, 2.0, 3.0]
