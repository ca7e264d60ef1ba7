"""What the layers' readers see of Core ML's generated protobuf classes."""

from __future__ import annotations

from typing import Any, Protocol


class Message(Protocol):
    """A message of `NeuralNetwork.proto` or `Model.proto`: its fields are attributes, and which ones is known there."""

    def __getattr__(self, name: str) -> Any:
        """Returns a field."""
