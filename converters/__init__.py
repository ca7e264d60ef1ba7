"""Converters: a captured float model and a recipe in, an artifact of one runtime out. One file a runtime."""

if __name__ != "edgekit.converters":
    raise ImportError(
        f'This folder is the package "edgekit.converters"; it was imported as "{__name__}". '
        "Import edgekit.converters instead, and run Python from the checkout's root or after `pip install -e .`."
    )
