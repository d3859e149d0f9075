"""Pictures of a batch: the right colours in the right places, and networks left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.tiny import make_batch, make_student
from uda.engine.live.sheet import NOTHING
from uda.engine.pictures import colour_label, overview, predictions

PALETTE = [[128, 64, 128], [70, 70, 70]]
NAMES = ["road", "building"]
LIGHT = (214, 214, 214)


def colours_of(pixels: np.ndarray) -> set[tuple[int, ...]]:
    """The colours in a picture."""
    return {tuple(map(int, colour)) for colour in pixels.reshape(-1, 3)}


def tile_of(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """A tile of 32 x 32 pixels of a sheet."""
    top, left = 6 + row * (20 + 32 + 6) + 20, 6 + column * 38
    return picture[top : top + 32, left : left + 32]


def draw(tensors: dict[str, Tensor], guesses: dict[str, Tensor] | None = None) -> np.ndarray:
    """The overview in tiles of 32 pixels; mean 100 and deviation 60."""
    mean, std = torch.full((3, 1, 1), 100.0), torch.full((3,), 60.0)
    return overview(
        tensors, guesses, palette=PALETTE, class_names=NAMES, mean=mean, std=std, width=32
    )


def test_overview_values() -> None:
    """What is learnt from above, the target below: 0.5 * 60 + 100 = 130; colours of classes."""
    label = torch.zeros(1, 8, 8, dtype=torch.int64)
    pseudo, weight = label.clone(), torch.ones(1, 8, 8)
    pseudo[:, :4] = 255
    weight[:, :4] = 0
    picture = draw(
        {
            "source_image": torch.full((1, 3, 8, 8), 0.5),
            "source_label": label + 1,
            "target_image": torch.zeros(1, 3, 8, 8),
            "pseudo_label": pseudo,
            "pseudo_weight": weight,
        },
        {"student": label, "teacher": label + 1},
    )
    assert picture.dtype == np.uint8
    assert colours_of(tile_of(picture, 0, 0)) == {(130, 130, 130)}
    assert colours_of(tile_of(picture, 0, 1)) == {(70, 70, 70)}
    assert colours_of(tile_of(picture, 1, 0)) == {(100, 100, 100)}
    assert colours_of(tile_of(picture, 1, 1)[:16]) == {NOTHING, LIGHT}
    assert colours_of(tile_of(picture, 1, 1)[16:]) == {(128, 64, 128)}
    assert colours_of(tile_of(picture, 1, 2)) == {(128, 64, 128)}
    assert colours_of(tile_of(picture, 1, 3)) == {(70, 70, 70)}


def test_overview_weight_values() -> None:
    """Soft weights have a tile of their own, in grey; without weight a label is striped."""
    label = torch.zeros(1, 8, 8, dtype=torch.int64)
    weight = torch.full((1, 8, 8), 0.2)
    weight[:, :4] = 0
    weight[:, 6:] = 1
    picture = draw({"pseudo_label": label, "pseudo_weight": weight})
    assert colours_of(tile_of(picture, 0, 0)[:16]) == {LIGHT, (128, 64, 128)}
    assert colours_of(tile_of(picture, 0, 0)[16:]) == {(128, 64, 128)}
    assert {(0, 0, 0), (51, 51, 51), (255, 255, 255)} <= colours_of(tile_of(picture, 0, 1))


def test_overview_images_values() -> None:
    """Each image has its rows; without source or labels there are fewer tiles."""
    picture = draw({"target_image": torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])})
    assert colours_of(tile_of(picture, 0, 0)) == {(100, 100, 100)}
    assert colours_of(tile_of(picture, 1, 0)) == {(160, 160, 160)}


def test_predictions_values() -> None:
    """Two networks at most; modes, running statistics and random numbers stay."""
    student = make_student()
    student.train()
    student.dropout.eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    image = make_batch().source.image
    torch.manual_seed(1)
    found = predictions({"student": student, "teacher": student, "other": student}, image)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    assert sorted(found) == ["student", "teacher"]
    assert found["student"].shape == (2, 16, 16)
    assert student.training
    assert student.body.norm.training
    assert not student.dropout.training
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name])
    assert predictions({"student": student}, None) == {}


def test_colour_label_values() -> None:
    """Each class has its colour; ids without one are black."""
    colours = colour_label(torch.tensor([[0, 1, 7, 255]]), PALETTE)
    assert colours.tolist() == [[[128, 64, 128], [70, 70, 70], [0, 0, 0], [0, 0, 0]]]


@pytest.mark.parametrize("width", [16, 100])
def test_overview_shapes(width: int) -> None:
    """Tiles keep the proportions of the images."""
    tensors = {"source_image": torch.zeros(1, 3, 10, 20)}
    mean = std = torch.ones(3)
    found = overview(tensors, palette=[], class_names=[], mean=mean, std=std, width=width)
    assert found.shape[1] == width + 12
    assert found.shape[0] >= 6 + 20 + width // 2
