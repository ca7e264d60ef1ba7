"""Sources: how a model comes in. Each leaves a captured model: one file that converters read, and facts about it.

One file a source, listed as text in `edgekit.sources.table`; user code and frameworks run only in a worker process,
through `edgekit.sources.capture`.
"""
