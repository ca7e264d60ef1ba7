"""Functions of single elements."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

X = torch.tensor([[-90.0, -2.5, -1.0, -0.4, -0.0, 0.0, 0.3, 0.5, 1.0, 2.7, 60.0]])
FUNCTIONS = {
    "celu": lambda x: functional.celu(x, 0.7),
    "log_sigmoid": functional.logsigmoid,
    "trunc": torch.trunc,
    "frac": torch.frac,
    "fmod": lambda x: torch.fmod(x, 0.7) + torch.fmod(x, x.abs() + 1),
    "lerp": lambda x: torch.lerp(x, x * x, 0.3) + torch.lerp(x, x + 1, x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5) + torch.addcmul(x, x, x),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.5),
    "nan_to_num": lambda x: torch.nan_to_num(x.sqrt(), nan=0.25) + torch.nan_to_num(1 / x, posinf=9.0, neginf=-8.0),
    "hardshrink": lambda x: functional.hardshrink(x, 0.5),
    "softshrink": lambda x: functional.softshrink(x, 0.2),
    "asinh": torch.asinh,
    "acosh": lambda x: torch.acosh(1 + x.abs()),
    "atanh": lambda x: torch.atanh(x.tanh() * 0.9),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_written_in_terms_of_others(rewritten, name):
    assert name not in rewritten(FUNCTIONS[name], X)
