"""What a changed model is predicted to take on a device. Runs in a worker that has torch."""

from __future__ import annotations

from typing import Final

from edgekit.errors import TechniqueError
from edgekit.predict.latency import predict_latency
from edgekit.profiles.profile import find_profile
from edgekit.recipe import Recipe
from edgekit.techniques.base import Context, TorchModel

_FILE: Final = "judged.pt2"


def predicted_latency(model: TorchModel, device: str, runtime: str, context: Context) -> float:
    """Returns milliseconds of one float inference.

    Args:
        model: Any model.
        device: A device's name, or its profile's file.
        runtime: Format that it will run in.
        context: Whose scratch folder is used.

    Raises:
        ProfileError: no such device.
        TechniqueError: its profile predicts no latency for this runtime.
    """
    import torch

    from edgekit.analysis.read_exported import read_exported

    profile = find_profile(device, context.base)
    context.scratch.mkdir(parents=True, exist_ok=True)
    path = context.scratch / _FILE
    torch.export.save(model.program, str(path))
    try:
        analysis = read_exported(path)
    finally:
        path.unlink()
    prediction = predict_latency(analysis, Recipe(default="fp32"), runtime, profile.latency_model, profile.name)[0]
    if prediction.value is None:
        raise TechniqueError(
            f"{device} has no prediction for {runtime}: {prediction.basis}. Give target=macs, or another runtime."
        )
    return prediction.value
