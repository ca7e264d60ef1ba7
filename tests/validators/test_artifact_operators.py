"""Operators of artifacts: what is counted as work, and how they are named."""

from __future__ import annotations

from edgekit.validators.artifact_operators import (
    ArtifactOperator,
    count_by_arithmetic,
    name_operators,
    share_of_work,
)
from edgekit.workers.structure import structure


def operator(name: str = "conv", *, kind: str = "CONV_2D", arithmetic: str = "float", **facts: object):
    return structure(
        {"name": name, "kind": kind, "arithmetic": arithmetic, "macs": 10, **facts}, ArtifactOperator, "operator"
    )


def test_work_is_counted_in_multiply_accumulates():
    part, rest = operator(macs=3_000_000), operator("b", macs=1_000_000)
    assert share_of_work([part], [part, rest]) == (75.0, "4 M multiply-accumulates")


def test_work_is_counted_in_operators_where_one_operators_work_is_not_known():
    part, rest = operator(macs=3_000_000), operator("b", macs=None)
    assert share_of_work([part], [part, rest]) == (50.0, "2 operators")


def test_no_work_has_no_share():
    assert share_of_work([], []) is None


def test_a_rest_is_never_rounded_to_all():
    big, tiny = operator(macs=10**15), operator("b", macs=1)
    share = share_of_work([big], [big, tiny])
    assert share is not None
    assert share[0] < 100


def test_operators_are_named_with_the_most_work_first():
    named = name_operators([operator("small", macs=1), operator("large", macs=9)])
    assert named == "large (CONV_2D), small (CONV_2D)"


def test_operators_of_one_name_are_counted_and_many_are_cut():
    same = [operator("Conv2d 8x3x3x3", kind="Conv2d")] * 3
    others = [operator(f"layer{i}", macs=5) for i in range(12)]
    named = name_operators([*same, *others])
    assert named.startswith("Conv2d 8x3x3x3 x3, layer0 (CONV_2D)")
    assert named.endswith("and 3 more")


def test_a_long_path_of_modules_is_cut_to_its_end():
    path = "net.model.Net/torch.nn.modules.container.Sequential_features/torch.nn.modules.conv.Conv2d_stem;"
    assert name_operators([operator(path)]) == "torch.nn.modules.conv.Conv2d_stem (CONV_2D)"


def test_operators_are_counted_by_what_they_compute_with():
    counted = count_by_arithmetic([
        operator(),
        operator(arithmetic="dynamic", kind="FULLY_CONNECTED"),
        operator(arithmetic="other", kind="DEQUANTIZE", dtype="float32"),
        operator(arithmetic="other", kind="QUANTIZE", dtype="int8"),
    ])  # fmt: skip
    assert counted == {"integer": {"FULLY_CONNECTED": 1, "QUANTIZE": 1}, "float": {"CONV_2D": 1, "DEQUANTIZE": 1}}
