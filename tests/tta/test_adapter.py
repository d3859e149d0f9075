"""The wrapper: predict, reset, protocols, budget, export, whole state, bad input."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tta.tiny import CLASSES, classifier, images, network
from uda.structures import NetworkOutput
from uda.tta import METHODS, adapt

BIG = {"lr": 0.05}


def settings_of(name: str) -> dict[str, Any]:
    """What a method cannot do without here: small images, few passes."""
    return {
        "eata": {
            "source_batches": [images(4, seed=9)],
            "weight": 1.0,
            "margin": 1.0,
            "redundancy": 1.0,
        },
        "cotta": {"views": 2, "scales": (1.0, 0.5), "restore": 0.1, "confidence": 0.9},
        "vida": {"passes": 2, "high": 2, "restore": 0.1},
        "rotta": {"capacity": 4, "interval": 2},
        "deyo": {"threshold": 1.0, "plpd": -1.0},
        "sar": {"margin": 1.0},
        "eta": {"margin": 1.0, "redundancy": 1.0},
        "rdumb": {"margin": 1.0, "redundancy": 1.0, "reset_every": 3},
    }.get(name, {})


def kinds_of(name: str) -> list[str]:
    """The networks that a method can adapt."""
    every = ["classifier", "segmenter", "transformer"]
    unfit = {"bn": "transformer", "lame": "segmenter", "vida": "classifier"}
    return [k for k in every if k != unfit.get(name)]


CASES = [(name, kind) for name in METHODS for kind in kinds_of(name)]


@pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda value: value)
def test_state_resume(name: str, kind: str) -> None:
    """A state through a file continues to the bit, and both differ from a model without it."""
    settings = {**BIG, **settings_of(name)}
    model = adapt(network(kind), name, **settings)
    for seed in range(3):
        model(images(4, seed))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = adapt(network(kind, seed=1), name, **settings)
    other.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 7):
        assert torch.equal(model(images(4, seed)), other(images(4, seed)))
    assert model.report()["updates"] == other.report()["updates"]
    if name not in ("bn", "lame"):
        assert model.report()["updates"] > 0
    model.reset()
    other.reset()
    assert torch.equal(model.predict(images()), other.predict(images()))


@pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda value: value)
def test_reset_and_source(name: str, kind: str) -> None:
    """The given model stays; after a reset the same stream gives the same logits."""
    source = network(kind)
    before = {key: value.clone() for key, value in source.state_dict().items()}
    # the generator goes on, so methods that draw are compared without their draws
    fixed = {"restore": 0.0, "view": lambda image, generator: image.flip(3)}
    settings = settings_of(name)
    for key, value in fixed.items():
        if key in settings or (key == "view" and name in ("cotta", "vida", "rotta")):
            settings[key] = value
    model = adapt(source, name, guard=False, statistics="batch", **BIG, **settings)
    if name == "deyo":
        model = adapt(source, name, guard=False, destroy="occlusion", **BIG, **settings)
    first = [model(images(4, seed)) for seed in range(3)]
    model.reset()
    second = [model(images(4, seed)) for seed in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in source.state_dict().items())


@pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda value: value)
def test_export_equals_predict(name: str, kind: str) -> None:
    """The exported network gives the logits of `predict`, also as a torch.export graph."""
    model = adapt(network(kind), name, guard=False, **BIG, **settings_of(name))
    for seed in range(3):
        model(images(4, seed))
    exported, image = model.export(), images(4, seed=7)
    torch.testing.assert_close(exported(image), model.predict(image))
    assert not exported.training
    graph = torch.export.export(exported, (image,)).module()
    torch.testing.assert_close(graph(image), model.predict(image))


def test_predict_leaves_no_trace() -> None:
    """Predictions between calls change nothing; calls change what is predicted."""
    model = adapt(network("classifier"), "tent", guard=False, **BIG)
    other = adapt(network("classifier"), "tent", guard=False, **BIG)
    before = model.predict(images())
    other(images())
    model(images())
    for seed in range(3):
        model.predict(images(2, seed))
    assert torch.equal(model.predict(images()), other.predict(images()))
    assert not torch.equal(model.predict(images()), before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["tent", "lame", "cotta"])
def test_export_keeps_precision(name: str, precision: Any) -> None:
    """Exported passes are as short as those of `predict`, unless another runtime decides."""
    model = adapt(network("classifier"), name, precision=precision, guard=False,
                  **settings_of(name))  # fmt: skip
    for seed in range(2):
        model(images(4, seed))
    image = images(4, seed=7)
    wanted = model.predict(image)
    torch.testing.assert_close(model.export()(image), wanted)
    graph = torch.export.export(model.export(), (image,)).module()
    torch.testing.assert_close(graph(image), wanted, atol=1e-3, rtol=1e-3)
    full = model.export(precision="full")(image)
    assert not torch.equal(full, wanted)
    torch.testing.assert_close(full, wanted, atol=0.1, rtol=0.1)


def test_scaler_follows_the_device() -> None:
    """After `to` the loss is scaled for the new device, by the factor that was reached."""
    model = adapt(network("classifier"), "tent", precision="float16", guard=False)
    model(images())
    state = model.learner.scaler.state_dict()
    model.learner.renew_scaler({**state, "scale": 32.0})
    model.to("meta")
    assert model.learner.scaler._device == "meta"
    assert model.learner.scaler.state_dict()["scale"] == 32.0
    full = adapt(network("classifier"), "tent", guard=False)
    full.load_state_dict(adapt(network("classifier"), "tent").state_dict())
    other = adapt(network("classifier"), "tent", precision="float16", guard=False)
    other.load_state_dict(full.state_dict())  # whose scaler is off and has no state
    assert other.learner.scaler.is_enabled()


def test_export_frozen() -> None:
    """With images to freeze on, batch normalisation has their statistics, whatever it is given."""
    model = adapt(network("segmenter"), "tent", guard=False, statistics="batch", **BIG)
    model(images())
    exported = model.export(freeze_on=[images(8)])
    whole = exported(images(8))
    torch.testing.assert_close(exported(images(8)[:1]), whole[:1])
    norm = next(m for m in exported.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.running_mean is not None


def test_protocols() -> None:
    """Episodic calls do not depend on those before; online resets when told; offline predicts."""
    episodic = adapt(network("classifier"), "tent", protocol="episodic", guard=False, **BIG)
    alone = episodic(images(4, 1))
    episodic(images(4, 2))
    assert torch.equal(episodic(images(4, 1)), alone)
    online, continual = (
        adapt(network("classifier"), "tent", protocol=p, guard=False, **BIG)
        for p in ("online", "continual")
    )
    for model in (online, continual):
        model(images(4, 2))
        model.new_domain()
    assert torch.equal(online(images(4, 1)), alone)
    assert not torch.equal(continual(images(4, 1)), alone)
    offline = adapt(network("classifier"), "tent", protocol="offline", guard=False, **BIG)
    before = offline(images(4, 1))
    assert torch.equal(offline(images(4, 1)), before)
    offline.fit([images(4, 2)], epochs=2)
    assert offline.report()["updates"] == 2
    assert not torch.equal(offline(images(4, 1)), before)


def test_budget() -> None:
    """Every second call adapts; sure batches are left out and counted."""
    model = adapt(network("classifier"), "tent", every=2, guard=False)
    for seed in range(4):
        model(images(4, seed))
    assert model.report()["updates"] == 2
    sure = adapt(network("classifier"), "tent", skip_reliable=1.0, guard=False)
    sure(images())
    assert (sure.report()["updates"], sure.report()["skipped"]) == (0, 1)
    unsure = adapt(network("classifier"), "tent", skip_reliable=0.0, guard=False)
    unsure(images())
    assert (unsure.report()["updates"], unsure.report()["skipped"]) == (1, 0)


def test_single_images() -> None:
    """Batches of 1 with batch normalisation over a single value: finite, and near the source."""
    source = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    source.eval()
    for statistics in ("auto", "batch"):
        model = adapt(source, "tent", statistics=statistics, guard=False, lr=0.0)
        torch.testing.assert_close(model(images(1)), source(images(1)))


class Wrapped(nn.Module):
    """Returns its logits inside something else."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.inner, self.wrap = network("classifier"), wrap

    def forward(self, image: Tensor) -> Any:
        return self.wrap(self.inner(image))


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda x: {"out": x}, "out"),
        (lambda x: (None, x), 1),
        (lambda x: {"a": {"b": x}}, lambda result: result["a"]["b"]),
        (NetworkOutput, None),
    ],
    ids=["dict", "tuple", "function", "network-output"],
)
def test_output(wrap: Any, output: Any) -> None:
    """Models that return dicts, tuples or our own type."""
    plain = adapt(network("classifier"), "tent", guard=False)
    model = adapt(Wrapped(wrap), "tent", output=output, guard=False)
    assert torch.equal(model(images()), plain(images()))
    torch.testing.assert_close(model.export()(images()), plain.predict(images()))


def test_output_errors() -> None:
    """A missing choice, a wrong key, a wrong shape: what came is named."""
    with pytest.raises(TypeError, match=r"a dict with the keys \['out'\] where logits were wanted"):
        adapt(Wrapped(lambda x: {"out": x}), "tent")(images())
    with pytest.raises(ValueError, match=r"output='aux' is not in what the model returned"):
        adapt(Wrapped(lambda x: {"out": x}), "tent", output="aux")(images())
    with pytest.raises(ValueError, match=r"shape \(N, K\) or \(N, K, H, W\), the model gave"):
        adapt(Wrapped(lambda x: x[0]), "tent")(images())


def test_inference_mode_and_no_grad() -> None:
    """Callers that switched gradients off adapt all the same."""
    wanted = adapt(network("classifier"), "tent", guard=False)(images())
    for context in (torch.no_grad(), torch.inference_mode()):
        model = adapt(network("classifier"), "tent", guard=False)
        with context:
            assert torch.equal(model(images()), wanted)
        assert model.report()["updates"] == 1
        assert not model(images()).requires_grad


def test_valid_mask() -> None:
    """Pixels that are not valid teach nothing: whatever they show, the update is the same."""
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    mask[:, :4] = False
    first, second = (
        adapt(network("segmenter"), "tent", statistics="source", guard=False, **BIG)
        for _ in range(2)
    )
    image = images(2)
    other = image.clone()
    other[:, :, :3] = 0.5  # a row further on still sees it through the 3 x 3 kernel
    first(image, mask)
    second(other, mask)
    for name, parameter in first.learner.parameters.items():
        torch.testing.assert_close(parameter, second.learner.parameters[name])
    nothing = adapt(network("segmenter"), "tent", guard=False, momentum=0.0, **BIG)
    nothing(image, torch.zeros_like(mask))
    for name, parameter in nothing.learner.parameters.items():
        assert torch.equal(parameter, nothing.learner.source[name])
    with pytest.raises(ValueError, match=r"valid has shape \(2, 4, 4\)"):
        nothing(image, mask[:, :4, :4])


def test_autocast() -> None:
    """bfloat16 passes: float32 logits near those of full precision, parameters stay float32."""
    full = adapt(network("segmenter"), "tent", guard=False)
    half = adapt(network("segmenter"), "tent", precision="bfloat16", guard=False)
    logits = half(images())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, full(images()), atol=0.1, rtol=0.1)
    assert half.report()["updates"] == 1
    assert all(p.dtype == torch.float32 for p in half.learner.parameters.values())


def test_not_finite() -> None:
    """A batch with NaN moves nothing, statistics included, with every kind of statistics."""
    for statistics in ("running", "robust", "cumulative", "batch"):
        for guard in (True, False):
            model = adapt(network("classifier"), "tent", statistics=statistics, guard=guard, **BIG)
            model(images())
            before = model.state_dict()
            before = {k: v.clone() for k, v in before.items() if isinstance(v, Tensor)}
            broken = images()
            broken[0, 0, 0, 0] = float("nan")
            model(broken)
            after = model.state_dict()
            assert all(torch.equal(value, after[key]) for key, value in before.items())
            assert model.report()["frames_not_finite"] == 1
            assert torch.isfinite(model(images())).all()


def test_report() -> None:
    """Counts of passes, times and memory."""
    model = adapt(network("classifier"), "tent", guard=False)
    assert model.report()["latency_p50_ms"] is None
    model(images())
    model(images())
    report = model.report()
    # one pass at first tells images from pixels
    assert (report["calls"], report["forward"], report["backward"]) == (2, 3, 2)
    assert 0 < report["latency_p50_ms"] <= report["latency_p95_ms"]
    assert report["moving_parameters"] == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps and every have to be at least 1"),
        ({"protocol": "forever"}, "protocol has to be one of continual, online"),
        ({"precision": "half"}, "precision has to be"),
        ({"lr": -1.0}, "lr has to be at least 0"),
        ({"optimiser": "lion"}, "optimiser has to be"),
        ({"momentum": 1.0}, r"momentum has to lie in \[0, 1\)"),
        ({"statistics": "old"}, "statistics has to be one of auto, source"),
        ({"parameters": "some"}, 'parameters has to be "norm", "all"'),
        ({"parameters": ["stem"]}, "starts with 'stem'"),
        ({"confidence": 2.0}, "confidence has to lie"),
        ({"max_pixels": 0}, "max_pixels has to be at least 1"),
        ({"moment": 0.5}, "tent has no setting 'moment'. Did you mean 'momentum'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors(settings: dict[str, Any], message: str) -> None:
    """Each wrong setting is told in a sentence."""
    with pytest.raises(ValueError, match=message):
        adapt(classifier(), "tent", **settings)(images())


def test_unknown_method() -> None:
    """A mistyped method: the nearest is proposed."""
    with pytest.raises(ValueError, match="There is no method 'tend'. Did you mean 'tent'"):
        adapt(classifier(), "tend")


def test_parameters_and_inplace() -> None:
    """Prefixes choose what moves; in place the given model itself is adapted."""
    source = network("classifier")
    model = adapt(source, "tent", parameters=["5."], inplace=True, guard=False, **BIG)
    before = source[5].weight.clone()
    model(images())
    assert not torch.equal(source[5].weight, before)
    assert model.report()["moving_parameters"] == 6 * CLASSES + CLASSES


@pytest.mark.parametrize(("name", "kind"), CASES[::2], ids=lambda value: value)
def test_to_moves_everything(name: str, kind: str) -> None:
    """After `to` the model goes on in the new type: source, optimiser, memory, guard."""
    model = adapt(network(kind), name, **BIG, **settings_of(name))
    for seed in range(2):
        model(images(4, seed))
    model.to(torch.float64)
    for seed in range(3):
        assert model(images(4, seed).double()).dtype == torch.float64
    model.reset()
    assert model.predict(images().double()).dtype == torch.float64


def test_copies_are_free() -> None:
    """A deep copy goes on alike, and alone."""
    model = adapt(network("classifier"), "tent", guard=False, **BIG)
    model(images())
    other = copy.deepcopy(model)
    before = model.predict(images())
    first = other(images(4, 1))
    assert torch.equal(model.predict(images()), before)
    assert torch.equal(model(images(4, 1)), first)
