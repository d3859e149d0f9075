"""Prototypes correct a teacher's probabilities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.selftraining import PrototypeTeacher
from uda.structures import NetworkOutput


class Pixelwise(nn.Module):
    """Features are the image; class 0 where its first channel is above 0, by a small margin."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.zeros_(self.head.weight)
        self.head.weight.data[0, 0] = 0.1

    def forward(self, image: Tensor) -> NetworkOutput:
        """Logits at the size of the image."""
        return NetworkOutput(self.head(image), (image,))


def teacher(**changes: Any) -> PrototypeTeacher:
    arguments = {"num_classes": 2, "channels": 3, "momentum": 0.5, "min_pixels": 2, **changes}
    return PrototypeTeacher(Pixelwise(), **arguments)


def row(*values: float) -> Tensor:
    """An image (1, 3, 1, n) with the given first channel and zeros."""
    image = torch.zeros(1, 3, 1, len(values))
    image[0, 0, 0] = torch.tensor(values)
    return image


def test_prototypes_values() -> None:
    """Class 0 at 4 and 2 sets its prototype to 3; one pixel of class 1 is too few, two are enough.

    Then (m = 0.5) pixels at 5 and 5 move the first prototype to 4.
    """
    made = teacher()
    made.predict(row(4, 2, -1))
    assert made.prototypes[:, 0].tolist() == [3, 0]
    assert made.seen.tolist() == [True, False]
    made.predict(row(5, 5, -2, -4))
    assert made.prototypes[:, 0].tolist() == [4, -3]
    assert made.seen.tolist() == [True, True]


def test_corrected_values() -> None:
    """Prototypes at 1 and -1; a pixel at 0.5: distances 0.5 and 1.5, w = softmax(0, -1).

    Logits 0.05 and 0: probabilities softmax(0.05, 0); their product, normalised, is
    softmax(1.05, 0).
    """
    made = teacher(momentum=0.0)
    made.predict(row(1, 1, -1, -1))
    found = made.predict(row(0.5, 0.5))[0, 0, 0, 0].item()
    assert found == pytest.approx(1 / (1 + math.exp(-1.05)))
    cold = teacher(momentum=0.0, temperature=0.5)
    cold.predict(row(1, 1, -1, -1))
    assert cold.predict(row(0.5))[0, 0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-2.05)))


def test_unseen_classes_values() -> None:
    """Before any prototype nothing is corrected; a class not yet seen is as near as the nearest."""
    made = teacher(min_pixels=100)
    plain = made.network(row(0.5, -0.5)).logits.softmax(1)
    torch.testing.assert_close(made.predict(row(0.5, -0.5)), plain)
    one = teacher(momentum=0.0)
    one.predict(row(1, 1))
    torch.testing.assert_close(one.predict(row(5.0)), one.network(row(5.0)).logits.softmax(1))


def test_prototype_teacher_resume() -> None:
    """Prototypes are saved and restored."""
    made, other = teacher(), teacher()
    made.predict(row(4, 2, -1, -1))
    other.load_state_dict(made.state_dict())
    torch.testing.assert_close(other.predict(row(0.3)), made.predict(row(0.3)), rtol=0, atol=0)
    assert made.predict(row(1, 2)).requires_grad is False


def test_prototype_teacher_errors() -> None:
    """Numbers out of range; a network without features or with others."""
    with pytest.raises(ValueError, match="temperature has to be above 0, not 0"):
        teacher(temperature=0)
    with pytest.raises(ValueError, match=r"momentum has to lie in \[0, 1\], not 2"):
        teacher(momentum=2)
    with pytest.raises(ValueError, match="feature map -1 has 3 channels, not 8; set channels=3"):
        teacher(channels=8).predict(row(1))
    plain = PrototypeTeacher(nn.Conv2d(3, 2, 1), num_classes=2, channels=3)
    with pytest.raises(TypeError, match="needs a network that returns its features"):
        plain.predict(row(1))
