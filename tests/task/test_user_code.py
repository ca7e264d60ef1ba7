from __future__ import annotations

import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from edgekit.errors import ConfigError, DataError, ModelError
from edgekit.task.user_code import (
    call_user,
    check_callable_without_arguments,
    describe_failure,
    is_user_file,
    load_object,
    place_words,
    split_reference,
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def message_of(reference: str, base: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_object(reference, base, "[model] source")
    return caught.value.message


def test_a_function_of_a_file_is_loaded(tmp_path):
    write(tmp_path, "net.py", "def build():\n    return 3\n")
    assert load_object("net.py:build", tmp_path, "[model] source")() == 3


def test_a_name_may_have_dots(tmp_path):
    write(tmp_path, "net.py", "class Net:\n    @staticmethod\n    def build():\n        return 4\n")
    assert load_object("net.py:Net.build", tmp_path, "[model] source")() == 4


def test_a_function_of_a_module_beside_the_task_file_is_loaded(tmp_path):
    write(tmp_path, "edgekit_test_package/inner.py", "def build():\n    return 5\n")
    assert load_object("edgekit_test_package.inner:build", tmp_path, "[model] source")() == 5


def test_two_files_with_one_name_do_not_clash(tmp_path):
    for i in (1, 2):
        write(tmp_path, f"{i}/net.py", f"def build():\n    return {i}\n")
    assert [load_object("net.py:build", tmp_path / str(i), "[model] source")() for i in (1, 2)] == [1, 2]


def test_a_file_is_imported_once(tmp_path):
    write(tmp_path, "net.py", "state = []\ndef add():\n    state.append(1)\n    return len(state)\n")
    assert [load_object("net.py:add", tmp_path, "[model] source")() for _ in range(2)] == [1, 2]


def test_imports_beside_the_file_work_also_inside_a_function(tmp_path):
    write(tmp_path, "edgekit_test_sibling.py", "VALUE = 7\n")
    write(tmp_path, "net.py", "def build():\n    import edgekit_test_sibling\n    return edgekit_test_sibling.VALUE\n")
    assert load_object("net.py:build", tmp_path, "[model] source")() == 7


def test_a_dataclass_in_a_file_finds_its_module(tmp_path):
    write(
        tmp_path,
        "net.py",
        """
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class Net:
            width: int = 3
        """,
    )
    assert load_object("net.py:Net", tmp_path, "[model] source")().width == 3


@pytest.mark.parametrize("text", ["net", "net:", ":build", "net.py:1x", "net:a b"])
def test_a_text_without_two_halves_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        split_reference(text, "[model] source")
    assert caught.value.message == (
        f'[model] source: "{text}" names no Python object. Write file.py:name or module:name.'
    )


def test_a_file_without_a_name_is_refused_with_an_example():
    with pytest.raises(DataError) as caught:
        split_reference("data.py", "[data] calibration", DataError)
    assert caught.value.message == (
        '[data] calibration: "data.py" names no Python object. Write file.py:name or module:name '
        '(for example "data.py:build").'
    )


def test_a_missing_file_is_reported_with_the_nearest_names(tmp_path):
    write(tmp_path, "model.py", "")
    assert message_of("mdel.py:build", tmp_path) == (
        f"[model] source: mdel.py: no such file in {tmp_path}. Did you mean model.py?"
    )


def test_a_missing_file_in_a_missing_folder_is_reported(tmp_path):
    assert message_of("a/b.py:build", tmp_path) == f"[model] source: a/b.py: no such file in {tmp_path}."


def test_a_missing_name_is_reported_with_the_nearest_names(tmp_path):
    write(tmp_path, "net.py", "def build():\n    pass\n")
    assert message_of("net.py:bild", tmp_path) == "[model] source: net.py has no bild. Did you mean build?"


def test_a_missing_name_with_nothing_near_is_reported_with_what_there_is(tmp_path):
    write(tmp_path, "net.py", "import os\ndef build():\n    pass\ndef other():\n    pass\n")
    assert message_of("net.py:xyzzy", tmp_path) == "[model] source: net.py has no xyzzy. It has: build, other."


def test_a_missing_module_is_reported(tmp_path):
    assert message_of("edgekit_no_such_module:build", tmp_path) == (
        f"[model] source: no module named edgekit_no_such_module: it is neither in {tmp_path} nor installed. "
        "A file is named with its suffix: file.py:name."
    )


def test_what_cannot_be_called_is_refused(tmp_path):
    write(tmp_path, "net.py", "build = 3\n")
    assert message_of("net.py:build", tmp_path) == (
        "[model] source: net.py:build is of type int and cannot be called; expected a function."
    )


def test_a_failing_import_shows_the_users_frames_only(tmp_path):
    path = write(tmp_path, "net.py", "import json\njson.loads('{')\n")
    assert message_of("net.py:build", tmp_path) == (
        f"[model] source: net.py could not be imported:\n  {path}:2 in <module>\n    json.loads('{{')\n"
        "json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )
    path.write_text("def build():\n    return 8\n")
    assert load_object("net.py:build", tmp_path, "[model] source")() == 8


def test_a_missing_package_of_the_users_is_reported(tmp_path):
    path = write(tmp_path, "net.py", "import edgekit_no_such_module\n")
    assert message_of("net.py:build", tmp_path) == (
        f"[model] source: net.py could not be imported:\n  {path}:1 in <module>\n    import edgekit_no_such_module\n"
        "ModuleNotFoundError: No module named 'edgekit_no_such_module'"
    )


def test_a_relative_import_in_a_file_is_reported_with_the_way_out(tmp_path):
    path = write(tmp_path, "net.py", "from .layers import Layer\n")
    assert message_of("net.py:build", tmp_path) == (
        f"[model] source: net.py could not be imported:\n  {path}:1 in <module>\n    from .layers import Layer\n"
        "ImportError: attempted relative import with no known parent package\n"
        "net.py belongs to a package: name it as a module, package.net:name."
    )


def test_a_script_that_exits_while_it_is_imported_is_reported(tmp_path):
    write(tmp_path, "net.py", "import sys\nsys.exit(4)\n")
    assert message_of("net.py:build", tmp_path) == (
        "[model] source: net.py called sys.exit(4) while it was imported. "
        "Guard what must run only as a script: if __name__ == '__main__': ..."
    )


def test_an_error_of_edgekit_in_user_code_passes_as_it_is(tmp_path):
    write(tmp_path, "net.py", "from edgekit.errors import DataError\nraise DataError('mine')\n")
    with pytest.raises(DataError, match=r"^mine$"):
        load_object("net.py:build", tmp_path, "[model] source")


def test_a_failing_call_shows_the_users_frames(tmp_path):
    path = write(tmp_path, "net.py", "def build():\n    raise ValueError('no weights')\n")
    build = load_object("net.py:build", tmp_path, "[model] source")
    with pytest.raises(ModelError) as caught:
        call_user(build, (), "net.py:build failed", ModelError)
    assert caught.value.message == (
        f"net.py:build failed:\n  {path}:2 in build\n    raise ValueError('no weights')\nValueError: no weights"
    )


def test_a_call_that_exits_is_reported():
    with pytest.raises(ModelError) as caught:
        call_user(sys.exit, (2,), "net.py:build failed", ModelError)
    assert caught.value.message == (
        "net.py:build failed: it called sys.exit(2). Guard it: if __name__ == '__main__': ..."
    )


def test_an_error_of_edgekit_in_a_call_passes_as_it_is():
    def fail():
        raise DataError("mine")

    with pytest.raises(DataError, match=r"^mine$"):
        call_user(fail, (), "title", ModelError)


def test_a_function_that_needs_arguments_is_refused():
    with pytest.raises(ModelError) as caught:
        check_callable_without_arguments(lambda width, depth=2: None, "net.py:build", "[model] source", ModelError)
    assert caught.value.message == (
        "[model] source: net.py:build needs arguments (width); edgekit calls it without any. "
        "Give them defaults, or write a function that calls it."
    )


@pytest.mark.parametrize(
    "function", [lambda: 1, lambda x=1: x, lambda *a, **k: 1, dict], ids=["none", "default", "any", "type"]
)
def test_a_function_that_can_be_called_alone_passes(function):
    check_callable_without_arguments(function, "net.py:build", "[model] source", ModelError)


def test_a_long_message_is_cut():
    assert describe_failure(ValueError("x" * 5000)) == "ValueError: " + "x" * 1488 + " ..."


@pytest.mark.parametrize(
    "filename", ["<string>", textwrap.__file__, pytest.__file__], ids=["none", "stdlib", "package"]
)
def test_frames_of_others_are_not_the_users(filename):
    assert not is_user_file(filename)


def test_a_line_of_a_library_that_the_users_line_led_to_is_named_behind_it():
    frames = [
        traceback.FrameSummary("/home/me/net.py", 7, "forward", lookup_line=False, line="return self.net(x)"),
        traceback.FrameSummary("/venv/site-packages/torch/nn/module.py", 3, "call", lookup_line=False, line="call()"),
        traceback.FrameSummary("/venv/site-packages/pack/net.py", 50, "pad", lookup_line=False, line="if x <= 1:"),
        traceback.FrameSummary("/venv/site-packages/torch/guards.py", 9, "guard", lookup_line=False, line="raise"),
    ]
    own = ", at /home/me/net.py:7: return self.net(x)"
    assert place_words(frames) == f"{own} (in pack/net.py:50: if x <= 1:)"
    assert place_words(frames[:2]) == own
    assert place_words(frames[1:]) == ""
