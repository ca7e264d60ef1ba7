"""Validators: hold an artifact, run in its own runtime, against a budget. One file a cost or a quality."""

if __name__ != "edgekit.validators":
    raise ImportError(
        f'This folder is the package "edgekit.validators"; it was imported as "{__name__}". '
        "Import edgekit.validators instead, and run Python from the checkout's root or after `pip install -e .`."
    )
