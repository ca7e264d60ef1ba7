"""What an artifact's file says by itself, read without any runtime: metadata, and what its operators compute with.

A gate holds records against these; only running the artifact again tells more (`edgekit gate --remeasure`).
"""

from __future__ import annotations

if __name__.partition(".")[0] != "edgekit":
    raise ImportError("Import edgekit.validators.stored_facts: another package is called validators.")
