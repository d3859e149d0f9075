"""Mixers: every pixel comes whole from one side; which classes and how large a rectangle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.selftraining import ClassMix, CutMix, TargetMix
from uda.structures import Labelled, Mixed, PseudoLabel, Unlabelled

MIXERS = {
    "class_batch": ClassMix(num_classes=5, candidates="batch"),
    "class_image": ClassMix(num_classes=5, candidates="image"),
    "cut": CutMix(),
}


def sides(
    seed: int, size: tuple[int, int, int] = (2, 6, 7)
) -> tuple[Labelled, Unlabelled, PseudoLabel]:
    """Source and target whose pixels tell where they come from: positive and negative values."""
    generator = torch.Generator().manual_seed(seed)
    count, height, width = size
    label = torch.tensor([0, 1, 2, 3, 4, 255])[torch.randint(6, size, generator=generator)]
    source = Labelled(1 + torch.rand(count, 3, height, width, generator=generator), label)
    target = Unlabelled(-1 - torch.rand(count, 3, height, width, generator=generator))
    pseudo = PseudoLabel(
        10 + torch.randint(5, size, generator=generator),
        0.9 * torch.rand(size, generator=generator),
        torch.rand(size, generator=generator),
    )
    return source, target, pseudo


def mix(name: str, seed: int) -> tuple[Mixed, Labelled, Unlabelled, PseudoLabel]:
    """One mixed batch with its ingredients."""
    source, target, pseudo = sides(seed)
    torch.manual_seed(seed)
    return MIXERS[name](source, target, pseudo), source, target, pseudo


@pytest.mark.parametrize("name", MIXERS)
@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_mixer_properties(name: str, seed: int) -> None:
    """Image, label and weight of a pixel are all of the source (weight 1) or all of the target."""
    mixed, source, target, pseudo = mix(name, seed)
    pasted = mixed.mask.squeeze(1)
    assert torch.equal((mixed.image > 0).all(1), pasted)
    assert torch.equal((mixed.image > 0).any(1), pasted)
    assert torch.equal(mixed.image, torch.where(mixed.mask, source.image, target.image))
    assert torch.equal(mixed.label[pasted], source.label[pasted])
    assert torch.equal(mixed.label[~pasted], pseudo.label[~pasted])
    assert (mixed.weight[pasted] == 1).all()
    assert torch.equal(mixed.weight[~pasted], pseudo.weight[~pasted])


@pytest.mark.parametrize("name", MIXERS)
def test_mixer_determinism_properties(name: str) -> None:
    """The same seed mixes the same; another seed something else."""
    first, second = mix(name, 3)[0], mix(name, 3)[0]
    assert torch.equal(first.mask, second.mask)
    source, target, pseudo = sides(3)
    torch.manual_seed(4)
    masks = [MIXERS[name](source, target, pseudo).mask for _ in range(5)]
    assert any(not torch.equal(mask, first.mask) for mask in masks)


@pytest.mark.parametrize("candidates", ["batch", "image"])
@settings(deadline=None)
@given(seed=st.integers(0, 1000), classes=st.sets(st.sampled_from([0, 1, 2, 3, 4, 255])))
def test_class_mix_properties(candidates: str, seed: int, classes: set[int]) -> None:
    """`ceil(n / 2)` of the n candidates are drawn; each drawn class is pasted whole."""
    label = torch.tensor(sorted(classes) or [255])
    label = label[
        torch.randint(len(label), (3, 4, 4), generator=torch.Generator().manual_seed(seed))
    ]
    mixer = ClassMix(num_classes=5, candidates=candidates)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    chosen = mixer.choose(label)
    mask = mixer.mask(label, chosen).squeeze(1)
    for i in range(3):
        present = (
            set(label.unique().tolist())
            if candidates == "batch"
            else (set(label[i].unique().tolist()) - {255})
        )
        drawn = {k if k < 5 else 255 for k in chosen[i].nonzero().flatten().tolist()}
        assert drawn <= present
        assert len(drawn) == math.ceil(len(present) / 2)
        wanted = torch.zeros(4, 4, dtype=torch.bool)
        for k in drawn:
            wanted |= label[i] == k
        assert torch.equal(mask[i], wanted)


def test_class_mix_present_values() -> None:
    """Image 0 has class 0 and ignored pixels, image 1 class 2.

    "image" leaves the ignored id out and looks at one image; "batch" offers 0, 2 and the ignored
    id to both.
    """
    label = torch.tensor([[[0, 255]], [[2, 2]]])
    image = ClassMix(num_classes=3, candidates="image").present(label)
    assert image.tolist() == [[True, False, False, False], [False, False, True, False]]
    batch = ClassMix(num_classes=3, candidates="batch").present(label)
    assert batch.tolist() == [[True, False, True, True]] * 2


def test_class_mix_of_ignored_pixels_values() -> None:
    """Only ignored pixels: "image" pastes nothing, "batch" draws the ignored id and pastes all."""
    source, target, pseudo = sides(0)
    source.label.fill_(255)
    assert not ClassMix(num_classes=5, candidates="image")(source, target, pseudo).mask.any()
    mixed = ClassMix(num_classes=5, candidates="batch")(source, target, pseudo)
    assert mixed.mask.all()
    assert (mixed.label == 255).all()


def test_class_mix_unlabelled_weight_values() -> None:
    """Of the pasted pixels those without a label weigh 0 where asked for; the rest stays alike."""
    source, target, pseudo = sides(3, (4, 12, 12))
    drawn = []
    for weight in (1.0, 0.0):
        torch.manual_seed(0)
        mixer = ClassMix(num_classes=5, candidates="batch", unlabelled_weight=weight)
        drawn.append(mixer(source, target, pseudo))
    pasted = drawn[0].mask.squeeze(1)
    void = pasted & (source.label == 255)
    assert void.any()
    assert drawn[0].weight[pasted].eq(1).all()
    assert drawn[1].weight[void].eq(0).all()
    assert torch.equal(drawn[0].weight[~void], drawn[1].weight[~void])


def test_class_mix_draws_each_class_properties() -> None:
    """Every pair of four classes is drawn about equally often: 600 draws, 6 pairs, 100 each.

    The standard deviation of each count is sqrt(600 * 1/6 * 5/6) = 9.1; 45 is five of them.
    """
    label = torch.arange(4).view(1, 2, 2).expand(600, 2, 2).contiguous()
    torch.manual_seed(0)
    chosen = ClassMix(num_classes=4).choose(label)[:, :4].long()
    pairs = (chosen * torch.tensor([1, 2, 4, 8])).sum(1).bincount(minlength=16)
    assert [k for k in range(16) if pairs[k] > 0] == [3, 5, 6, 9, 10, 12]
    assert (pairs[pairs > 0] - 100).abs().max() < 45


@settings(deadline=None)
@given(seed=st.integers(0, 1000), low=st.floats(0.02, 0.4), high=st.floats(0.02, 0.4))
def test_cut_mix_properties(seed: int, low: float, high: float) -> None:
    """A full rectangle inside the image, its area within the bounds up to a row and a column.

    Aspects in [1/2, 2] and areas up to 0.4 of a square keep both sides below sqrt(0.8) of the
    length, so that no side is cut off.
    """
    low, high = sorted((low, high))
    length = 40
    torch.manual_seed(seed)
    mask = CutMix(share=(low, high), aspect=(0.5, 2.0)).mask(torch.zeros(3, length, length))
    assert mask.shape == (3, 1, length, length)
    for single in mask.squeeze(1):
        rows, columns = single.any(1), single.any(0)
        assert torch.equal(single, rows[:, None] & columns[None, :])
        for line in (rows, columns):
            where = line.nonzero().flatten()
            assert len(where) == where[-1] - where[0] + 1  # without gaps
        height, width = int(rows.sum()), int(columns.sum())
        assert (height - 1) * (width - 1) <= high * length**2 + 1e-3
        assert (height + 1) * (width + 1) >= low * length**2 - 1e-3


def test_unlabelled_weight_errors() -> None:
    """It is a share."""
    with pytest.raises(ValueError, match=r"unlabelled_weight has to lie in \[0, 1\], not 2"):
        ClassMix(num_classes=2, unlabelled_weight=2.0)


def test_mixer_errors() -> None:
    """Unknown candidates and empty ranges are named."""
    with pytest.raises(ValueError, match='candidates has to be "batch" or "image", not \'all\''):
        ClassMix(num_classes=3, candidates="all")  # type: ignore[arg-type]
    for share in ((0.0, 0.4), (0.5, 0.4), (0.1, 1.1)):
        with pytest.raises(ValueError, match=r"share has to be \(low, high\)"):
            CutMix(share=share)
    with pytest.raises(ValueError, match=r"aspect has to be \(low, high\).*not \(2, 1\)"):
        CutMix(aspect=(2, 1))


@pytest.mark.parametrize("mask", ["class", "cutmix"])
@settings(deadline=None)
@given(seed=st.integers(0, 200))
def test_target_mix_properties(mask: str, seed: int) -> None:
    """Each pixel is whole of one of two target images; no pixel is of the source."""
    source, target, pseudo = sides(seed)
    torch.manual_seed(seed)
    mixed = TargetMix(num_classes=16, mask=mask)(source, target, pseudo)  # type: ignore[arg-type]
    first = (mixed.image == target.image).all(1)
    assert torch.equal(torch.where(first, pseudo.label, pseudo.label.roll(1, 0)), mixed.label)
    assert torch.equal(torch.where(first, pseudo.weight, pseudo.weight.roll(1, 0)), mixed.weight)
    second = (mixed.image == target.image.roll(1, 0)).all(1)
    assert (first | second).all()
    assert not mixed.mask.any()


def test_target_mix_values() -> None:
    """Of the two classes of the first image's label one is pasted whole; 255 never is."""
    label = torch.tensor([[[0, 0, 3, 255]]])
    mixer = TargetMix(num_classes=4)
    masks = set()
    for seed in range(20):
        torch.manual_seed(seed)
        masks.add(tuple(mixer.mask(label).flatten().tolist()))
    assert masks == {(True, True, False, False), (False, False, True, False)}


def test_target_mix_errors() -> None:
    """An unknown mask, and a batch of one image."""
    with pytest.raises(ValueError, match='mask has to be "class" or "cutmix", not \'row\''):
        TargetMix(num_classes=2, mask="row")  # type: ignore[arg-type]
    source, target, pseudo = sides(0, (1, 4, 4))
    with pytest.raises(ValueError, match="needs two target images, and the batch has one: set"):
        TargetMix(num_classes=16)(source, target, pseudo)
