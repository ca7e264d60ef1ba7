"""Decoders by name: edgekit's own, and third parties' (entry point group `edgekit.decoders`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import DataError, PluginError
from edgekit.heads.decoder import Decoder
from edgekit.plugins import configured, load_plugin
from edgekit.registry import decoder_targets


def find_decoder(name: str, settings: Mapping[str, Any]) -> Decoder:
    """Returns the decoder `name` with its settings.

    Raises:
        DataError: no such decoder, no such setting, or a value of another type.
        PluginError: a third party's that cannot be loaded, or is no decoder.
    """
    targets = decoder_targets()
    if name not in targets:
        raise DataError(f'[head] decoder is "{name}"; accepted are {", ".join(targets)}.')
    found: Any = load_plugin("decoder", name, targets[name])
    if not (isinstance(found, type) and issubclass(found, Decoder)):
        raise PluginError(
            f'The entry point "{name}" of edgekit.decoders must name a subclass of edgekit.heads.decoder.Decoder; '
            f"{targets[name]} is not one. Mend the distribution that brings it."
        )
    made: Decoder = configured(f"The decoder {name}", found, settings)
    return made
