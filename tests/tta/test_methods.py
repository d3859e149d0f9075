"""What is particular to single methods, beyond the recorded steps."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tta.tiny import CLASSES, Transformer, classifier, images, network
from uda.tta import adapt
from uda.tta.methods import (
    BN,
    EATA,
    ETA,
    LAME,
    RPL,
    SAR,
    CoTTA,
    DeYO,
    HardPL,
    RDumb,
    RoTTA,
    SoftPL,
    ViDA,
)


def test_tent_values() -> None:
    """One SGD step is lr times the gradient of the mean entropy, prediction from before it."""
    model = adapt(
        network("segmenter"), "tent", lr=0.1, momentum=0.0, statistics="source", guard=False
    )
    plain = network("segmenter")
    logits = plain(images())
    probs = logits.softmax(1)
    entropy = -(probs * probs.log()).sum(1).mean()
    gradient = torch.autograd.grad(entropy, plain[1].weight)[0]
    torch.testing.assert_close(model(images()), logits.detach())
    moved = model.learner.parameters["1.weight"]
    torch.testing.assert_close(moved, (plain[1].weight - 0.1 * gradient).detach())


def test_max_pixels_and_balance() -> None:
    """Dense settings reach the loss: the update differs, and is repeatable by its seed."""
    moved = []
    for settings in ({}, {"max_pixels": 20}, {"max_pixels": 20}, {"class_balance": 1.0},
                     {"max_pixels": 20, "seed": 1}):  # fmt: skip
        model = adapt(network("segmenter"), "tent", lr=0.1, guard=False, **settings)
        model(images())
        moved.append(model.learner.parameters["1.weight"].detach().clone())
    assert torch.equal(moved[1], moved[2])
    for first, second in ((0, 1), (0, 3), (1, 4)):
        assert not torch.equal(moved[first], moved[second])


def test_soft_pl_warns() -> None:
    """A teacher that is the student of the moment, at temperature 1, never moves anything."""
    with pytest.warns(UserWarning, match="has no gradient: nothing will move"):
        method = SoftPL(temperature=1.0)
    model = adapt(network("classifier"), method, lr=0.1, momentum=0.0, guard=False)
    model(images())
    for name, parameter in model.learner.parameters.items():
        torch.testing.assert_close(parameter, model.learner.source[name])


def test_eta_forgets() -> None:
    """A reset forgets the running mean probability, which the released code keeps."""
    model = adapt(network("classifier"), ETA(margin=1.0, redundancy=1.0), guard=False)
    model(images())
    assert model.method.selection.mean_probs is not None
    model.reset()
    assert model.method.selection.mean_probs is None


def test_eta_none_reliable() -> None:
    """Where no sample is sure nothing moves, momentum included."""
    model = adapt(network("classifier"), ETA(margin=1e-6), lr=1.0, guard=False)
    model(images())
    assert model.report()["updates"] == 0


def test_eata_needs_source() -> None:
    """Without source images: what they are for and what to use instead. Empty ones too."""
    with pytest.raises(ValueError, match=r"give source_batches=.*or use \"eta\""):
        adapt(network("classifier"), "eata")(images())
    with pytest.raises(ValueError, match="source_batches of eata is empty"):
        adapt(network("classifier"), "eata", source_batches=[])(images())


def test_eata_keeps_near() -> None:
    """A heavy penalty keeps parameters nearer to the source than none."""
    lengths = []
    for weight in (0.0, 50.0):
        method = EATA(source_batches=[images(8)], weight=weight, margin=1.0, redundancy=1.0)
        model = adapt(network("classifier"), method, lr=0.05, momentum=0.0, guard=False)
        for seed in range(20):
            model(images(4, seed))
        moved = model.learner.parameters
        distances = [(moved[n] - model.learner.source[n]).norm().item() for n in moved]
        lengths.append(sum(distances))
    assert lengths[1] < lengths[0]


@pytest.mark.parametrize("recovery", ["clean", "reference"])
def test_sar_recovery(recovery: Any) -> None:
    """Below the limit the student is the source again; clean starts momentum and average anew."""
    method = SAR(margin=1.0, reset_below=10.0, recovery=recovery, skip=[])
    model = adapt(network("classifier"), method, lr=0.1, guard=False)
    model(images())
    assert method.resets == 1
    for name, parameter in model.learner.parameters.items():
        assert torch.equal(parameter, model.learner.source[name])
    assert (method.average is None) == (recovery == "clean")
    assert (len(model.learner.optimiser.state) == 0) == (recovery == "clean")


@pytest.mark.parametrize("recovery", ["clean", "reference"])
def test_sar_coasts(recovery: Any) -> None:
    """Without a reliable sample the released code coasts on by momentum; clean stands still."""
    method = SAR(margin=1.0, reset_below=0.0, recovery=recovery, skip=[])
    model = adapt(network("classifier"), method, lr=0.1, guard=False)
    model(images())
    method.margin = 1e-9
    before = {n: p.detach().clone() for n, p in model.learner.parameters.items()}
    model(images())
    moved = any(not torch.equal(p, before[n]) for n, p in model.learner.parameters.items())
    assert moved == (recovery == "reference")


def test_cotta_switches() -> None:
    """Sure of the batch: the plain teacher; unsure: the mean over views. Dense: pixel by pixel."""
    source = network("classifier")
    plain = adapt(source, CoTTA(confidence=0.0, restore=0.0), guard=False)
    flip = CoTTA(confidence=1.1, views=2, view=lambda x, g: x.flip(3), restore=0.0)
    views = adapt(source, flip, guard=False)
    torch.testing.assert_close(plain(images()), plain.learner.teach(plain.method.anchor, images()))
    found = views(images())
    torch.testing.assert_close(found, views.learner.teach(views.method.anchor, images().flip(3)))
    dense = network("segmenter")
    threshold = dense(images()).softmax(1).amax(1).median().item()
    pixels = CoTTA(confidence=threshold, scales=(1.0,), restore=0.0)
    target = adapt(dense, pixels, guard=False)(images())
    probs, other = dense(images()).softmax(1), dense(images().flip(3)).flip(3).softmax(1)
    sure = probs.amax(1, keepdim=True) > threshold
    wanted = torch.where(sure, probs, (probs + other) / 2).detach()
    torch.testing.assert_close(target.exp(), wanted)
    assert 0 < sure.sum() < sure.numel()


def test_vida_scales() -> None:
    """Above the threshold the high rank counts more; released code never moves it."""
    for scales, wanted in (("both", True), ("low_only", False)):
        method = ViDA(high=2, passes=2, threshold=0.0, scales=scales)  # type: ignore[arg-type]
        model = adapt(Transformer(), method, guard=False)
        model(images())
        low, high = method.shares
        assert low < 1
        assert (high > 1) == wanted
    groups = model.learner.optimiser.param_groups
    assert sorted({group["lr"] for group in groups}) == [1e-5, 1e-4]


def test_lame_values() -> None:
    """Equal features pull all samples to one class; far ones leave predictions as they are."""
    probs = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    together = LAME(affinity="linear").corrected(probs, torch.ones(3, 4))
    assert together.argmax(1).tolist() == [0, 0, 0]
    apart = LAME(affinity="linear").corrected(probs, torch.eye(3))
    assert apart.argmax(1).tolist() == [0, 0, 1]
    same = LAME(affinity="rbf").corrected(probs, torch.ones(3, 4))
    assert torch.isfinite(same).all()


@pytest.mark.parametrize("features", [None, "4"])
def test_lame_predicts_corrected(features: str | None) -> None:
    """`predict` and the exported network correct as a call does, also a copy, also by threads."""
    model = adapt(network("classifier"), "lame", affinity="knn", neighbours=2, features=features,
                  guard=False)  # fmt: skip
    called = model(images(8))
    plain = network("classifier")(images(8)).log_softmax(1)
    assert (called - plain).abs().max() > 0.01
    assert torch.equal(model.predict(images(8)), called)
    exported = copy.deepcopy(model.export())
    torch.testing.assert_close(exported(images(8)), called)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: exported(images(8, seed)), [0, 1] * 10))
    for seed in (0, 1):
        wanted = model.predict(images(8, seed))
        assert all(torch.allclose(one, wanted, atol=1e-5) for one in found[seed::2])


def test_cotta_anchor_stays() -> None:
    """Whatever statistics follow the stream, the anchor keeps those of the source."""
    for statistics in ("running", "cumulative", "stream", "robust"):
        method = CoTTA(views=2, confidence=0.5)
        source = network("classifier")
        model = adapt(source, method, statistics=statistics, guard=False)
        for seed in range(3):
            model(images(4, seed))
        anchor, stored = method.anchor[1], source[1]
        assert torch.equal(anchor.running_mean, stored.running_mean)
        assert torch.equal(anchor.running_var, stored.running_var)


def test_lame_errors() -> None:
    """Dense predictions, no linear layer, an unknown module."""
    with pytest.raises(ValueError, match="lame compares all samples"):
        adapt(network("segmenter"), "lame", features="2", guard=False)(images())
    with pytest.raises(ValueError, match=r"the model has none; name the module"):
        adapt(network("segmenter"), "lame", guard=False)(images())
    with pytest.raises(ValueError, match="no module 'pool' to take features of"):
        adapt(network("classifier"), "lame", features="pool", guard=False)(images())


def test_lame_features_by_name() -> None:
    """The output of a named module is the same as the input of what follows it."""
    first = adapt(network("classifier"), "lame", guard=False)(images())
    second = adapt(network("classifier"), "lame", features="4", guard=False)(images())
    assert torch.equal(first, second)
    torch.testing.assert_close(first.exp().sum(1), torch.ones(4))


def test_rotta_interval() -> None:
    """An update every two images, whatever the size of batches; the memory stays small."""
    model = adapt(network("classifier"), RoTTA(capacity=5, interval=2), guard=False)
    for seed in range(3):
        model(images(3, seed))
    assert model.report()["updates"] == 4
    assert len(model.method.bank) <= 5


def test_deyo_dense_alignment() -> None:
    """Of a network that sees single pixels, destroyed and undone predictions drop nothing."""
    pixelwise = nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, CLASSES, 1))
    for destroy in ("patch", "pixel"):
        method = DeYO(destroy=destroy, threshold=1.1, plpd=-1, skip=[])  # type: ignore[arg-type]
        model = adapt(pixelwise.eval(), method, statistics="source", guard=False)
        model(images())
        logits = pixelwise(images())
        sure = torch.ones_like(logits[:, 0], dtype=torch.bool)
        drop = method._drop(model.learner, images(), logits.detach(), sure)
        torch.testing.assert_close(drop, torch.zeros_like(drop), atol=1e-2, rtol=0)


def test_rdumb_resets() -> None:
    """Every second step starts from the source."""
    model = adapt(
        network("classifier"), RDumb(reset_every=2, margin=1.0, redundancy=1.0), guard=False, lr=0.1
    )
    first = model(images())
    model(images(4, 1))
    assert torch.equal(model(images()), first)


def test_bn_kinds() -> None:
    """With all of the stored statistics the source's prediction, with none that of the batch."""
    source = network("classifier")
    stored = adapt(source, BN(kind="blend", share=1.0), guard=False)
    torch.testing.assert_close(stored(images()), source(images()))
    batch = F.batch_norm(
        source[0](images()), None, None, source[1].weight, source[1].bias, training=True
    )
    model = adapt(source, BN(kind="batch"), guard=False)
    torch.testing.assert_close(model(images()), source[2:](batch))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RPL(q=2), r"q has to lie in \[0, 1\]"),
        (lambda: HardPL(teacher="other"), 'teacher has to be "self" or "source"'),  # type: ignore[arg-type]
        (lambda: SoftPL(temperature=0), "temperature has to be above 0"),
        (lambda: ETA(margin=0), "margin is a share of log K"),
        (lambda: ETA(redundancy=0), "redundancy is a cosine"),
        (lambda: EATA(weight=-1), "weight has to be at least 0"),
        (lambda: RDumb(reset_every=0), "reset_every is a number of steps"),
        (lambda: SAR(margin=0), "margin is a share of log K"),
        (lambda: SAR(rho=-1), "rho is the length"),
        (lambda: SAR(recovery="none"), 'recovery has to be "clean"'),  # type: ignore[arg-type]
        (lambda: CoTTA(confidence=-1), "confidence has to be at least 0"),
        (lambda: CoTTA(views=0), "views has to be at least 1"),
        (lambda: CoTTA(decay=2), "decay has to lie"),
        (lambda: CoTTA(loss="l2"), 'loss has to be "cross_entropy"'),  # type: ignore[arg-type]
        (lambda: ViDA(passes=1), "passes have to be at least 2"),
        (lambda: ViDA(loss="l2"), 'loss has to be "cross_entropy"'),  # type: ignore[arg-type]
        (lambda: ViDA(scales="none"), 'scales has to be "both"'),  # type: ignore[arg-type]
        (lambda: RoTTA(capacity=0), "capacity, interval and micro_batch"),
        (lambda: RoTTA(decay=2), "decay has to lie"),
        (lambda: DeYO(threshold=0), "threshold and margin are shares"),
        (lambda: DeYO(destroy="blur"), 'destroy has to be "patch"'),  # type: ignore[arg-type]
        (lambda: DeYO(patches=1), "patches a side"),
        (lambda: LAME(affinity="cosine"), 'affinity has to be "rbf"'),  # type: ignore[arg-type]
        (lambda: LAME(neighbours=0), "neighbours has to be at least 1"),
        (lambda: adapt(classifier(), ViDA()), "puts adapters beside the linear layers"),
        (lambda: adapt(classifier(), SAR(skip=[""])), "SAR would move nothing"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_errors(make: Any, message: str) -> None:
    """Each argument out of range is told in a sentence."""
    with pytest.raises(ValueError, match=message):
        make()


def test_deyo_classifier_values() -> None:
    """PLPD of a sample is the drop of its class's probability on the destroyed image."""
    source = network("classifier")
    method = DeYO(destroy="occlusion", threshold=1.1, plpd=-1.0, skip=[])
    model = adapt(source, method, statistics="source", guard=False)
    model(images())
    logits = source(images()).detach()
    destroyed, _ = method.destroyed(images(), torch.Generator())
    probs, after = logits.softmax(1), source(destroyed).softmax(1).detach()
    label = probs.argmax(1, keepdim=True)
    wanted = (probs.gather(1, label) - after.gather(1, label)).squeeze(1)
    model.reset()
    drop = method._drop(model.learner, images(), logits, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(drop, wanted)
    assert method.counts == [4, 4]
    assert math.isfinite(float(drop.sum()))


def test_rotta_dense() -> None:
    """Pixels stay where they are in the view; masks of images are obeyed."""
    moved: list[Tensor] = []
    model = adapt(network("segmenter"), "rotta", capacity=4, interval=2, guard=False)
    image = torch.zeros(2, 3, 16, 16)
    image[..., 8:] = 0.8
    forward = model.learner.forward
    model.learner.forward = lambda view, **how: moved.append(view) or forward(view, **how)
    model(image)
    view = torch.cat(moved)
    assert (view[..., 10:].mean() - view[..., :6].mean()).abs() > 0.3
    edges = (view[:, :, 4:-4].diff(dim=-1).abs().mean((0, 1, 2))).topk(2).indices
    assert set(edges.tolist()) <= {6, 7, 8}  # the edge, where it was
    single = adapt(network("classifier"), "rotta", capacity=4, interval=2, guard=False)
    single(images(4), torch.tensor([True, False, False, False]))
    assert (single.method.seen, len(single.method.bank)) == (1, 1)
