"""The libraries of metrics, imported when a metric needs one: the extra `metrics` installs them all."""

from __future__ import annotations

import importlib
from typing import Any

from edgekit.errors import MissingDependencyError


def scikit_image_metrics(metric: str) -> Any:
    """Returns `skimage.metrics`.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    return _imported(metric, "skimage.metrics", "scikit-image")


def jiwer_library(metric: str) -> Any:
    """Returns `jiwer`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return _imported(metric, "jiwer", "jiwer")


def coco_library(metric: str, module: str) -> Any:
    """Returns a module of `pycocotools`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return _imported(metric, f"pycocotools.{module}", "pycocotools")


def _imported(metric: str, module: str, distribution: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"The metric {metric} needs {distribution}, which is not installed. "
            "Install it from the checkout: pip install -e '.[metrics]'"
        ) from error
