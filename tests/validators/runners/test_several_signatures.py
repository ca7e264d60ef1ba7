"""Programs of several methods and packages of several functions: each is listed, opened by its name and run."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = [pytest.mark.runtime, pytest.mark.filterwarnings("ignore")]  # frameworks warn while they convert


class Codec(nn.Module):
    """Two parts with their own sizes: 6 numbers to 2, and 2 to 6."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.up = nn.Linear(6, 2), nn.Linear(2, 6)


PARTS = {"encode": (6, 2), "decode": (2, 6)}


@pytest.fixture(scope="module")
def parts():
    codec = Codec().eval()
    return {"encode": codec.down, "decode": codec.up}


def exported(part, size):
    return torch.export.export(part, (torch.zeros(1, size),))


@pytest.fixture(scope="module")
def program(parts, tmp_path_factory):
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    programs = {name: exported(part, PARTS[name][0]) for name, part in parts.items()}
    path = tmp_path_factory.mktemp("program") / "codec.pte"
    lowered = to_edge_transform_and_lower(
        programs, partitioner=[XnnpackPartitioner()], constant_methods={"author": "me"}
    )
    path.write_bytes(lowered.to_executorch().buffer)
    return path


@pytest.fixture(scope="module")
def package(parts, tmp_path_factory):
    from edgekit.converters.to_coreml_program import import_coremltools

    ct, folder = import_coremltools(), tmp_path_factory.mktemp("package")
    functions = ct.utils.MultiFunctionDescriptor()
    for name, part in parts.items():
        made = ct.convert(
            exported(part, PARTS[name][0]).run_decompositions({}),
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        made.save(str(folder / f"{name}.mlpackage"))
        functions.add_function(str(folder / f"{name}.mlpackage"), "main", name)
    functions.default_function_name = "encode"
    ct.utils.save_multifunction(functions, str(folder / "codec.mlpackage"))
    return folder / "codec.mlpackage"


def runtime_of(kind, path):
    if kind == "program":
        from edgekit.validators.runners.executorch_session import Runtime

        return Runtime(str(path), "", 1)
    from edgekit.validators.runners.coreml_session import Runtime as Evaluator

    return Evaluator(str(path), "evaluator", 1)


@pytest.mark.parametrize("kind", ["program", "package"])
def test_each_is_listed_opened_by_its_name_and_run(kind, parts, request):
    path = request.getfixturevalue(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runtime = runtime_of(kind, path)
        assert set(runtime.signatures(str(path))) == set(PARTS)
        for name, (size, _) in PARTS.items():
            opened = runtime.open(str(path), name)
            row = np.random.default_rng(1).standard_normal((1, size)).astype(np.float32)
            with torch.no_grad():
                expected = parts[name](torch.from_numpy(row)).numpy()
            np.testing.assert_allclose(opened.run([row])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("program", "^it has no method train, only author, decode, encode$"),
        (
            "package",
            r'codec.mlpackage: the program has no function "train"\. It has: \w+, \w+\.$',
        ),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_there(kind, message, request):
    path = request.getfixturevalue(kind)
    with pytest.raises(Exception, match=message):
        runtime_of(kind, path).open(str(path), "train")
