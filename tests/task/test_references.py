"""References with arguments: what users may write, and what they are told."""

from __future__ import annotations

import re
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ConfigError, ModelError
from edgekit.sources.table import classify
from edgekit.task.references import Reference, parse_reference
from edgekit.task.user_code import check_callable_without_arguments, load_object, split_reference

values = st.one_of(st.integers(), st.booleans(), st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False))
names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda x: x not in ("if", "is", "as", "in", "or"))


@settings(max_examples=40)
@given(
    arguments=st.dictionaries(names, values, max_size=3), where=st.sampled_from(["net.py", "a.b", "C:\\x (1)\\n.py"])
)
def test_a_reference_reads_back_what_it_writes(arguments, where):
    made = Reference(where=where, name="Net.build", arguments=tuple(arguments.items()))
    assert parse_reference(str(made), "x") == made


def test_arguments_take_the_place_of_those_of_the_same_name():
    found = parse_reference("net.py:build(width=8, depth=1)", "x").with_arguments({"depth": 2, "kind": "a:b,c("})
    assert str(found) == "net.py:build(width=8, depth=2, kind='a:b,c(')"
    assert split_reference(str(found), "x") == ("net.py", "build")


WRITE = "Write them as in build(width=8, depth=1)."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n.py:f(3)", f"an argument has no name. {WRITE}"),
        ("n.py:f(**x)", f"an argument has no name. {WRITE}"),
        ("n.py:f(a=1, a=2)", f"a is given twice. {WRITE}"),
        ("n.py:f(a=1)(b=2)", f"its arguments cannot be read: too many parentheses. {WRITE}"),
        ("n.py:f(a=1 2)", f"its arguments cannot be read: invalid syntax. Perhaps you forgot a comma?. {WRITE}"),
        ("n.py:f(a=b)", "a=b was given; expected a number, text in quotes, True or False."),
        ("n.py:f(a=[1])", "a=[1] was given; expected a number, text in quotes, True or False."),
        ("n.py:f(a=exit())", "a=exit() was given; expected a number, text in quotes, True or False."),
    ],
)
def test_arguments_that_are_no_literals_are_refused(text, message):
    with pytest.raises(ConfigError, match="^" + re.escape(f'[x]: "{text}": {message}') + "$"):
        parse_reference(text, "[x]")


@pytest.fixture
def base(tmp_path):
    (tmp_path / "n.py").write_text(
        "def f(width, depth=1):\n    return width, depth\n\ndef g(**more):\n    return more\n"
    )
    return tmp_path


def test_a_loaded_reference_is_a_partial_that_needs_no_arguments(base):
    found = load_object("n.py:f(width=8)", base, "[x]")
    assert isinstance(found, partial)
    check_callable_without_arguments(found, "n.py:f(width=8)", "[x]", ModelError)
    assert found() == (8, 1)
    assert load_object("n.py:g(any=1)", base, "[x]")() == {"any": 1}


def test_a_parameter_that_the_function_has_not_gets_the_nearest(base):
    with pytest.raises(ConfigError, match=r"^\[x\]: n\.py:f has no parameter widht\. Did you mean width\?$"):
        load_object("n.py:f(widht=8)", base, "[x]")


def test_a_factory_with_arguments_is_a_torch_source(base):
    assert classify('n.py:f(width=0.5, weights="w.onnx")', base) == "torch"
