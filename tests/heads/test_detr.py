from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.heads.detr import Detr

SIZE = (64, 96)


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_transformers_decodes_the_same(generator, scores):
    torch = pytest.importorskip("torch")
    if scores == "softmax":
        module = pytest.importorskip("transformers.models.detr.image_processing_pil_detr", exc_type=ImportError)
        processor = module.DetrImageProcessorPil()
    else:
        module = pytest.importorskip("transformers.models.rt_detr.image_processing_pil_rt_detr", exc_type=ImportError)
        processor = module.RTDetrImageProcessorPil()
    logits = generator.standard_normal((1, 20, 4)).astype(np.float32)
    boxes = generator.uniform(0.2, 0.8, (1, 20, 4)).astype(np.float32)
    outputs = SimpleNamespace(logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes))
    theirs = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[SIZE])[0]
    order = torch.argsort(theirs["scores"], descending=True, stable=True)
    found = Detr(scores=scores, score=0.0, most=20).decode((logits[0], boxes[0]), SIZE)
    assert np.abs(found.boxes - theirs["boxes"][order].numpy()).max() < 1e-3
    assert np.abs(found.scores - theirs["scores"][order].numpy()).max() < 1e-6
    assert found.classes.tolist() == theirs["labels"][order].tolist()


def test_each_query_has_its_best_class_and_none_is_no_class():
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0]])
    found = Detr(score=0.0).decode((boxes, logits), SIZE)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.abs(found.boxes - [[24, 16, 72, 48], [0, 0, 48, 64]]).max() < 1e-3
    assert np.allclose(found.scores, [chances[0, 0], chances[1, 0]])


def test_a_way_of_scoring_that_nobody_knows_is_refused():
    with pytest.raises(DataError) as caught:
        Detr(scores="max").why_not(((5, 3), (5, 4)), SIZE)
    assert caught.value.message == '[head] scores is "max"; accepted are softmax and sigmoid.'


def test_other_shapes_are_refused_with_what_was_expected():
    assert Detr().why_not(((5, 3), (6, 4)), SIZE) == (
        "they have the shapes (5, 3), (6, 4); expected (queries, classes) and (queries, 4)"
    )
