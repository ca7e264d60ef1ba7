from __future__ import annotations

import torch
from torch import nn

from edgekit.torch_program.keyword_names import without_keywords
from edgekit.torch_program.trace_module import export_module


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"class": nn.Linear(4, 3), "in": nn.BatchNorm1d(4)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.heads["class"](self.heads["in"](x))


def test_modules_called_as_words_of_python_are_captured() -> None:
    net, x = Heads().eval(), torch.randn(1, 4)
    program = export_module(net, (x,), "net")
    assert {name.rpartition(".")[0] for name in program.state_dict} == {"heads.class_", "heads.in_"}
    torch.testing.assert_close(program.module()(x), net(x))
    stacks = [path for node in program.graph.nodes for path, _ in node.meta.get("nn_module_stack", {}).values()]
    assert {"heads.class_", "heads.in_"} <= set(stacks)


def test_other_names_stay() -> None:
    assert without_keywords("encoder.0.class_.weight") == "encoder.0.class_.weight"
    assert without_keywords("a.lambda.b") == "a.lambda_.b"
