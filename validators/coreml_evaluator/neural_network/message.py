"""Messages of NeuralNetwork.proto, whose classes are read out of coremltools: no checker knows their fields."""

from __future__ import annotations

from typing import Any, Protocol


class Message(Protocol):
    """A protobuf message: its fields are attributes."""

    def __getattr__(self, name: str, /) -> Any:
        """Returns a field's value: a number, text, bytes, a message, or a sequence of them."""
        ...
