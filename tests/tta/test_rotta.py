"""RoTTA in parts of its memory, and pixels that must teach nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tta.tiny import images, network
from uda.tta import Adapter, Statistics, adapt
from uda.tta.methods import RoTTA
from uda.tta.methods.rotta import stepped

SAME = {"view": lambda image, generator: image, "capacity": 6, "interval": 6}


def adapted(kind: str, *, lr: float = 1.0, **settings: Any) -> tuple[Adapter, list[int]]:
    """A model after one update, and the number of images in each of its passes with gradient."""
    model = adapt(network(kind), RoTTA(**SAME, **settings), statistics="source", guard=False,
                  optimiser="sgd", lr=lr)  # fmt: skip
    sizes: list[int] = []
    forward = model.learner.forward

    def noted(image: Tensor, **how: Any) -> Tensor:
        sizes.append(len(image))
        return forward(image, **how)

    model.learner.forward = noted
    model(images(6))
    return model, sizes


def test_micro_batches_values() -> None:
    """With statistics that do not move, the update is that of the whole memory at once."""
    whole, sizes = adapted("segmenter", micro_batch=6)
    assert sizes == [len(whole.method.bank)]
    for micro_batch, most in ((None, 1), (2, 2)):
        parts, sizes = adapted("segmenter", micro_batch=micro_batch)
        assert max(sizes) == most
        assert sum(sizes) == len(parts.method.bank)
        assert parts.report()["updates"] == 1
        for name, parameter in parts.learner.parameters.items():
            torch.testing.assert_close(parameter, whole.learner.parameters[name])
    _, sizes = adapted("classifier")
    assert len(sizes) == 1  # as released


def test_stepped_values() -> None:
    """Three small steps keep of the stored statistics what one large step keeps."""
    small = stepped(Statistics("robust", momentum=0.05), 3).momentum
    assert (1 - small) ** 3 == pytest.approx(0.95)
    assert stepped(Statistics("batch"), 3) == Statistics("batch")
    made = {parts: adapt(network("segmenter"), RoTTA(**SAME, micro_batch=parts), guard=False)
            for parts in (1, 6)}  # fmt: skip
    image = images(1).expand(6, -1, -1, -1)  # alike, so that parts have the statistics of all
    for model in made.values():
        model(image)
    first, second = (model.network[1].running_mean for model in made.values())
    torch.testing.assert_close(first, second)
    assert first.abs().max() > 0


def test_valid_pixels() -> None:
    """Pixels that are not valid change nothing of what is learnt; whole images are left out."""
    mask = torch.ones(6, 8, 8, dtype=torch.bool)
    mask[:, :4] = False
    image, other = images(6), images(6)
    other[:, :, :3] = 0.5  # a row further on still sees it through the 3 x 3 kernel
    models = []
    for shown in (image, other):
        model = adapt(network("segmenter"), RoTTA(**SAME), statistics="source", guard=False)
        model(shown, mask)
        assert model.report()["updates"] == 1
        models.append(model)
    for name, parameter in models[0].learner.parameters.items():
        torch.testing.assert_close(parameter, models[1].learner.parameters[name])
    with pytest.raises(ValueError, match=r"valid has shape \(6, 4, 8\)"):
        models[0](image, mask[:, 4:])
    nothing = adapt(network("segmenter"), RoTTA(**SAME), guard=False)
    nothing(image, torch.zeros_like(mask))
    assert nothing.method.seen == 0
    state = models[0].state_dict()
    again = adapt(network("segmenter"), RoTTA(**SAME), statistics="source", guard=False)
    again.load_state_dict(state)
    held, there = (m.method.bank.masks() for m in (again, models[0]))
    assert all(torch.equal(a, b) for a, b in zip(held, there, strict=True))


def test_micro_batch_errors() -> None:
    with pytest.raises(ValueError, match="capacity, interval and micro_batch are numbers"):
        RoTTA(micro_batch=0)
