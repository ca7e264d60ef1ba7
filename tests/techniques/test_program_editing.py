"""A program that is opened for changes keeps what the changes are not about."""

from __future__ import annotations

import pytest

from edgekit.model import CapturedModel
from edgekit.techniques.base import TorchModel
from edgekit.techniques.program_editing import capture_graph, open_graph, with_tensors

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it saves


def captured(name, folder):
    """Returns a linear layer whose input is called `name`."""
    scope = {"torch": torch}
    exec(f"class Net(torch.nn.Linear):\n    def forward(self, {name}):\n        return super().forward({name})", scope)
    examples = (torch.ones(1, 3),)
    program = torch.export.export(scope["Net"](3, 2), examples, strict=False)
    facts = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=folder / "net.pt2", inputs=(),
        outputs=(), parameters=8, macs=6, family="mlp", digest="0" * 64,
    )  # fmt: skip
    return TorchModel(program=program, facts=facts)


def saved(model, folder):
    torch.export.save(model.program, folder / "net.pt2")
    return torch.export.load(folder / "net.pt2")


# What torch.fx never calls a node, because Python or torch has the name already.
@pytest.mark.parametrize("name", ["x", "input", "filter", "type", "inf"])
@pytest.mark.parametrize("way", ["tensors", "graph"])
def test_an_input_keeps_its_name_also_one_that_python_has_taken(name, way, tmp_path):
    model = captured(name, tmp_path)
    before = model.program.graph_signature.user_inputs
    if way == "tensors":
        changed = with_tensors(model, {"weight": torch.full((2, 3), 5.0)})
        assert saved(changed, tmp_path).state_dict["weight"].unique().tolist() == [5.0]
    else:
        changed = capture_graph(model, open_graph(model))
    assert saved(changed, tmp_path).graph_signature.user_inputs == before
    assert saved(changed, tmp_path).module()(torch.ones(1, 3)).shape == (1, 2)


def test_other_values_leave_the_model_that_they_came_from_alone(tmp_path):
    model = captured("x", tmp_path)
    before = model.program.state_dict["weight"].clone()
    changed = with_tensors(model, {"weight": torch.zeros(2, 3)})
    with torch.no_grad():
        changed.program.state_dict["bias"].zero_()
    assert torch.equal(model.program.state_dict["weight"], before)
    assert model.program.state_dict["bias"].abs().sum() > 0
