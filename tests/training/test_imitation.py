"""What imitation costs, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.training.imitation import feature_loss, imitation_loss


def test_soft_targets_are_weighed_with_the_squared_temperature():
    import torch

    student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    p, q = torch.softmax(teacher / 4, 1), torch.softmax(student / 4, 1)
    by_hand = 16 * float((p * (p / q).log()).sum())
    assert float(imitation_loss(student, teacher, "logits", 4.0)) == pytest.approx(by_hand, rel=1e-5)


def test_at_high_temperature_the_gradient_is_that_of_matched_logits():
    """Hinton et al. 2015, eq. 4: for centred logits dC/dz = (z - v) / (N T^2), here times T^2."""
    import torch

    student = torch.tensor([[0.5, -0.2, -0.3]], requires_grad=True)
    teacher = torch.tensor([[-0.1, 0.4, -0.3]])
    imitation_loss(student, teacher, "logits", 1000.0).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, atol=1e-3, rtol=0)


@given(st.sampled_from(["logits", "embeddings", "sequence"]))
def test_a_perfect_student_pays_nothing(outputs):
    import torch

    values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert float(imitation_loss(values, values, outputs, 2.0)) == pytest.approx(0, abs=1e-6)


def test_the_teacher_gets_no_gradient_and_a_sequence_counts_each_position():
    import torch

    student, teacher = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    rows = sum(float(imitation_loss(student[i].detach(), teacher[i], "logits", 2.0)) for i in range(2)) / 2
    loss = imitation_loss(student, teacher, "sequence", 2.0)
    loss.backward()
    assert teacher.grad is None
    assert float(loss.detach()) == pytest.approx(rows, rel=1e-5)


def test_features_are_compared_without_their_size():
    import torch

    one, other = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert float(feature_loss(one, 7 * one)) == pytest.approx(0, abs=1e-6)
    assert float(feature_loss(one, other)) == pytest.approx(float(feature_loss(5 * one, other)), rel=1e-5)
