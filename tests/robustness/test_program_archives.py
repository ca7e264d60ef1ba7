"""Crafted `.pt2` files: each would run code, or read or write files, if torch read it. None runs; each is refused."""

from __future__ import annotations

import ctypes
import io
import json
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.errors import ModelError
from edgekit.torch_program.program_archive import load_program

Members = dict[str, bytes]
PROGRAM = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x: Any) -> Any:
        return (self.inner(x) + self.shift + torch.tensor([1.0, 2.0, 3.0])).reshape(x.shape[0], 3)


@pytest.fixture(scope="module")
def sound() -> Members:
    buffer = io.BytesIO()
    free = {"x": {0: torch.export.Dim("batch", min=1, max=8)}}
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(2, 4),), dynamic_shapes=free), buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


class Touch:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def pickled(mark: Path) -> bytes:
    data = pickle.dumps(Touch(mark))
    return data + b"\0" * (-len(data) % 4)


def saved(mark: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touch(mark), buffer)
    return buffer.getvalue()


def edit(members: Members, name: str, change: Callable[[Any], None]) -> None:
    data = json.loads(members[name])
    change(data)
    members[name] = json.dumps(data).encode()


def graph(data: Any) -> Any:
    return data["graph_module"]["graph"]


def code(mark: Path) -> str:
    return f"__import__('pathlib').Path({str(mark)!r}).touch()"


def entry(members: Members, **changes: Any) -> dict[str, Any]:
    return next(iter(json.loads(members[WEIGHTS])["config"].values())) | {"is_param": False} | changes


# Each takes the members and the file that its code would make, and changes the members.
def opaque_object_in_a_folder(m: Members, mark: Path) -> None:
    edit(m, CONSTANTS, lambda d: d["config"].update(x=entry(m, path_name="opaque_obj_0/evil")))
    m["data/constants/opaque_obj_0/evil"] = pickled(mark)


def opaque_object(m: Members, mark: Path) -> None:
    edit(m, CONSTANTS, lambda d: d["config"].update(x=entry(m, path_name="opaque_obj_0")))
    m["data/constants/opaque_obj_0"] = pickled(mark)


def path_leads_out_of_its_folder(m: Members, mark: Path) -> None:
    edit(m, CONSTANTS, lambda d: d["config"].update(x=entry(m, path_name="../weights/weight_0")))
    m["data/weights/weight_0"] = pickled(mark)


def weight_that_is_a_pickle(m: Members, mark: Path) -> None:
    edit(m, WEIGHTS, lambda d: next(iter(d["config"].values())).update(use_pickle=True))
    m["data/weights/weight_0"] = saved(mark)


def constant_that_is_a_pickle(m: Members, mark: Path) -> None:
    edit(m, CONSTANTS, lambda d: next(iter(d["config"].values())).update(use_pickle=1))
    m["data/constants/tensor_0"] = saved(mark)


def legacy_weights(m: Members, mark: Path) -> None:
    m["data/weights/model.pt"] = saved(mark)


def legacy_constants(m: Members, mark: Path) -> None:
    m["data/constants/model.pt"] = saved(mark)


def samples_that_are_a_pickle(m: Members, mark: Path) -> None:
    m[SAMPLES] = saved(mark)


def samples_in_capitals(m: Members, mark: Path) -> None:
    del m[SAMPLES]
    m[SAMPLES[:-2] + "PT"] = saved(mark)


def samples_twice_in_two_spellings(m: Members, mark: Path) -> None:
    m["data/sample_inputs/MODEL.pt"] = saved(mark)


def samples_with_backslashes(m: Members, mark: Path) -> None:
    m[SAMPLES.replace("/", "\\")] = saved(mark)


def samples_in_wide_letters(m: Members, mark: Path) -> None:
    m["data/sample_inputs/\uff4dodel.pt"] = saved(mark)


def program_of_another_suffix(m: Members, mark: Path) -> None:
    m["models/model.jsox"] = m.pop(PROGRAM)


def expression_that_is_code(m: Members, mark: Path) -> None:
    text = m[PROGRAM].decode()
    symbol = text.partition('"expr_str": "')[2].partition('"')[0]
    m[PROGRAM] = text.replace(f'"expr_str": "{symbol}"', f'"expr_str": {json.dumps(code(mark))}', 1).encode()


def expression_with_an_attribute(m: Members, mark: Path) -> None:
    text = m[PROGRAM].decode()
    symbol = text.partition('"expr_str": "')[2].partition('"')[0]
    evil = "s77.__class__.__init__.__globals__"
    m[PROGRAM] = text.replace(f'"expr_str": "{symbol}"', f'"expr_str": {json.dumps(evil)}', 1).encode()


def expression_that_fills_the_memory(m: Members, mark: Path) -> None:
    text = m[PROGRAM].decode()
    symbol = text.partition('"expr_str": "')[2].partition('"')[0]
    m[PROGRAM] = text.replace(f'"expr_str": "{symbol}"', '"expr_str": "9**9**9**9"', 1).encode()


def range_of_code(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: d["range_constraints"].update({code(mark): {"min_val": 1, "max_val": 2}}))


def name_that_is_code(m: Members, mark: Path) -> None:
    m[PROGRAM] = m[PROGRAM].replace(b'"x"', json.dumps(f"x={code(mark)}").encode())


def argument_name_that_is_code(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: graph(d)["nodes"][-1]["inputs"][0].update(name=f"self={code(mark)}, a", kind=2))


def parameter_name_that_is_code(m: Members, mark: Path) -> None:
    evil = f'inner.weight"), {code(mark)}, getattr(self, "inner'
    m[PROGRAM] = m[PROGRAM].replace(b'"inner.weight"', json.dumps(evil).encode())
    m[WEIGHTS] = m[WEIGHTS].replace(b'"inner.weight"', json.dumps(evil).encode())


def signature_name_that_is_code(m: Members, mark: Path) -> None:
    def change(data: Any) -> None:
        data["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={code(mark)}"]

    edit(m, PROGRAM, change)


def target_outside_of_operators(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: graph(d)["nodes"][-1].update(target="torch.os.system"))


def target_that_loads_a_library(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: graph(d)["nodes"][-1].update(target="torch.ops.load_library"))


def target_that_runs_a_pickle(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: graph(d)["nodes"][-1].update(target="torch.load"))


def target_that_writes_a_file(m: Members, mark: Path) -> None:
    name = {"name": "filename", "arg": {"as_string": str(mark)}, "kind": 1}
    call = {"target": "torch.ops.aten.from_file.default", "inputs": [name]}
    edit(m, PROGRAM, lambda d: graph(d)["nodes"][-1].update(call))


def operator_as_argument(m: Members, mark: Path) -> None:
    evil = {"name": "f", "arg": {"as_operator": "torch.os.system"}, "kind": 1}
    edit(m, PROGRAM, lambda d: graph(d)["nodes"][-1]["inputs"].append(evil))


def guard_that_is_code(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: d.update(guards_code=[code(mark)]))


def container_that_imports_a_module(m: Members, mark: Path) -> None:
    context = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
    tree = {"type": "collections.defaultdict", "context": context, "children_spec": []}
    change = {"in_spec": json.dumps([1, tree])}
    edit(m, PROGRAM, lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(change))


def container_key_that_imports_a_module(m: Members, mark: Path) -> None:
    context = json.dumps([{"__enum__": True, "fqn": "antigravity:x", "name": "y"}])
    tree = {"type": "builtins.dict", "context": context, "children_spec": []}
    change = {"out_spec": json.dumps([1, tree])}
    edit(m, PROGRAM, lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(change))


def custom_object(m: Members, mark: Path) -> None:
    evil = {"as_custom_obj": {"name": "o", "class_fqn": "__torch__.torch.classes.x"}}
    edit(m, PROGRAM, lambda d: graph(d)["inputs"].append(evil))


def unknown_key(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: d.update(on_load=code(mark)))


def number_that_is_a_truth_value(m: Members, mark: Path) -> None:
    edit(m, PROGRAM, lambda d: d["schema_version"].update(major=True))


def layout_of_torch_2_7(m: Members, mark: Path) -> None:
    from torch._export.serde.schema import SCHEMA_VERSION

    m["../version"] = ".".join(map(str, SCHEMA_VERSION)).encode()
    m["../serialized_exported_program.json"] = m[PROGRAM]
    for name in ("state_dict", "constants", "example_inputs"):
        m[f"../serialized_{name}.pt"] = saved(mark)
    del m[SAMPLES]


def compiled_library(m: Members, mark: Path) -> None:
    m["data/aotinductor/model/x.wrapper.so"] = b"\x7fELF"
    m["data/aotinductor/model/x.wrapper_metadata.json"] = b'{"AOTI_DEVICE_KEY":"cpu"}'


def executorch_part(m: Members, mark: Path) -> None:
    m["data/executorch/model.pte"] = b"ET12"


def tensor_of_a_terabyte(m: Members, mark: Path) -> None:
    size = {"sizes": [{"as_int": 2**39}], "strides": [{"as_int": 1}]}
    edit(m, WEIGHTS, lambda d: next(iter(d["config"].values()))["tensor_meta"].update(size))
    m["data/weights/weight_0"] = b""


CRAFTED = [
    *(opaque_object_in_a_folder, opaque_object, path_leads_out_of_its_folder, weight_that_is_a_pickle),
    *(constant_that_is_a_pickle, legacy_weights, legacy_constants, samples_that_are_a_pickle, samples_in_capitals),
    *(samples_twice_in_two_spellings, samples_with_backslashes, samples_in_wide_letters, program_of_another_suffix),
    *(expression_that_is_code, expression_with_an_attribute, expression_that_fills_the_memory, range_of_code),
    *(name_that_is_code, argument_name_that_is_code, parameter_name_that_is_code, signature_name_that_is_code),
    *(target_outside_of_operators, target_that_loads_a_library, target_that_runs_a_pickle, target_that_writes_a_file),
    *(operator_as_argument, container_that_imports_a_module, container_key_that_imports_a_module, custom_object),
    *(unknown_key, number_that_is_a_truth_value, layout_of_torch_2_7, compiled_library, executorch_part),
    tensor_of_a_terabyte,
]


def write(path: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name[3:] if name.startswith("../") else f"net/{name}", data)


@pytest.mark.parametrize("craft", CRAFTED, ids=lambda craft: craft.__name__)
def test_a_crafted_program_is_refused_and_nothing_runs(tmp_path, sound, craft):
    members, mark, path = dict(sound), tmp_path / "ran", tmp_path / "net.pt2"
    craft(members, mark)
    assert members != sound
    write(path, members)
    with pytest.raises(ModelError, match=r"^net\.pt2[ :]"):
        load_program(path, "net.pt2").module()(torch.zeros(2, 4))
    assert not mark.exists()


def test_what_the_crafted_programs_are_made_from_loads(tmp_path, sound):
    write(tmp_path / "net.pt2", sound)
    assert load_program(tmp_path / "net.pt2").module()(torch.zeros(3, 4)).shape == (3, 3)


def test_guards_of_a_file_are_not_run(tmp_path, sound):
    members = dict(sound)
    guard_that_is_code(members, tmp_path / "ran")
    write(tmp_path / "net.pt2", members)
    load_program(tmp_path / "net.pt2").module()(torch.zeros(2, 4))
    assert not (tmp_path / "ran").exists()


def message_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_program(path, "net.pt2")
    return caught.value.message


def test_a_member_that_stands_there_twice_is_refused(tmp_path, sound):
    path = tmp_path / "net.pt2"
    write(path, sound)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"net/{SAMPLES}", saved(tmp_path / "ran"))
    assert message_of(path) == (
        f"net.pt2 holds the member 'net/{SAMPLES}' twice. "
        "Export the model again with torch.export.save, without custom objects."
    )


def test_a_compressed_archive_is_refused(tmp_path, sound):
    write(tmp_path / "net.pt2", sound, zipfile.ZIP_DEFLATED)
    first = f"net/{next(iter(sound))}"
    assert message_of(tmp_path / "net.pt2") == (
        f"net.pt2: its member {first!r} is compressed or encrypted. "
        "Export the model again with torch.export.save, without custom objects."
    )


def test_another_version_of_the_archive_is_refused(tmp_path, sound):
    write(tmp_path / "net.pt2", sound | {"archive_version": b"7"})
    assert message_of(tmp_path / "net.pt2") == (
        "net.pt2: its archive_version is b'7'; expected b'0'. "
        "Export the model again with torch.export.save, without custom objects."
    )


def test_a_tensor_whose_bytes_are_missing_is_refused(tmp_path, sound):
    members = dict(sound)
    del members["data/weights/weight_0"]
    write(tmp_path / "net.pt2", members)
    assert message_of(tmp_path / "net.pt2") == (
        "net.pt2: the tensor inner.weight lies in data/weights/weight_0, which is not in the archive. "
        "Export the model again with torch.export.save, without custom objects."
    )


def test_a_tensor_without_values_is_refused(tmp_path, sound):
    write(tmp_path / "net.pt2", sound | {"data/weights/weight_0": b""})
    assert message_of(tmp_path / "net.pt2") == (
        "net.pt2: the tensor inner.weight has no values. "
        "Export the model again with torch.export.save, without custom objects."
    )


def test_a_program_that_is_nested_too_deep_is_refused(tmp_path, sound):
    write(tmp_path / "net.pt2", sound | {PROGRAM: b"[" * 100_000})
    assert message_of(tmp_path / "net.pt2") == (f"net.pt2: its {PROGRAM} is not valid JSON: it is nested too deep.")


def test_a_folder_under_this_suffix_is_refused(tmp_path):
    (tmp_path / "net.pt2").mkdir()
    assert message_of(tmp_path / "net.pt2") == (
        "net.pt2 is no regular file; expected an archive that torch.export.save wrote."
    )


def test_a_library_beside_the_program_is_not_loaded(tmp_path, sound):
    """The same as `compiled_library`, with a library that would run if it were loaded, where there is a compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("no compiler")
    mark, source, built = tmp_path / "ran", tmp_path / "x.c", tmp_path / "x.so"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void f(void)"
        f'{{ FILE *file = fopen("{mark}", "w"); if (file) fclose(file); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    ctypes.CDLL(str(built))
    assert mark.exists()
    mark.unlink()
    folder = "data/aotinductor/model/"
    parts = {f"{folder}x.wrapper.so": built.read_bytes(), f"{folder}x.wrapper_metadata.json": b"{}"}
    write(tmp_path / "net.pt2", sound | parts)
    assert "holds the member 'net/data/aotinductor/model/x.wrapper.so'" in message_of(tmp_path / "net.pt2")
    assert not mark.exists()


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.layers = torch.nn.ModuleDict({"3x3-a": torch.nn.Linear(4, 4)})
        self.register_buffer("hidden", torch.ones(4), persistent=False)

    def forward(self, x: Any, more: Any) -> Any:
        y = self.layers["3x3-a"](self.other(self.one(x))) + self.hidden + more["k"][0]
        return {"sum": y.sum(), "all": [y, None]}


def test_a_program_with_tied_weights_and_containers_loads_as_it_was(tmp_path):
    given = (torch.rand(2, 4), {"k": [torch.ones(1)]})
    program = torch.export.export(Tied().eval(), given)
    torch.export.save(program, tmp_path / "net.pt2", extra_files={"notes/a b.txt": "for people"})
    found = load_program(tmp_path / "net.pt2")
    assert torch.equal(found.module()(*given)["all"][0], program.module()(*given)["all"][0])
    assert found.state_dict["one.weight"].data_ptr() == found.state_dict["other.weight"].data_ptr()
    assert torch.equal(found.example_inputs[0][0], given[0])


def test_a_program_with_free_sizes_loads_as_it_was(tmp_path):
    class Halves(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.cat([x, x[: x.shape[0] // 2]], 0).reshape(-1, 2) * x.shape[0] ** 2

    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Halves(), (torch.rand(4, 4),), dynamic_shapes={"x": {0: 2 * batch}})
    torch.export.save(program, tmp_path / "net.pt2")
    found = load_program(tmp_path / "net.pt2")
    x = torch.rand(10, 4)
    assert torch.equal(found.module()(x), program.module()(x))
