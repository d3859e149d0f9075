"""What a guard's distrust holds back, and that the log names why."""

from __future__ import annotations

import io
import logging
import math
import re
from typing import Any

import pytest
import torch

from tests.tta.guard_table import causes, main, row_of
from tests.tta.test_guard import accuracies, source_model, stream
from uda.tta import Adapter, adapt
from uda.tta.guard import warn_rarely
from uda.tta.serve import SnapshotServer


def trusted(**settings: Any) -> Adapter:
    """An adapter after a stream on which its guard lets it answer."""
    model = adapt(source_model(), "tent", statistics="batch", **settings)
    for image, _ in stream("contrast", 6, 64):
        model(image)
    return model


def spoil(model: Adapter) -> torch.Tensor:
    """Weights turned round, so that the next batch is taken back; gives that batch's images."""
    with torch.no_grad():
        for parameter in model.learner.parameters.values():
            parameter.mul_(-3)
    image = next(iter(stream("contrast", 1, 64)))[0]
    model(image)
    assert not model.trusted
    return image


def test_predict_and_export_follow_the_guard() -> None:
    """The unadapted model before there is evidence, the adapted one then, the unadapted after."""
    image = next(iter(stream("contrast", 1, 64)))[0]
    source = source_model()(image)
    model = adapt(source_model(), "tent", statistics="batch")
    assert torch.equal(model.predict(image), source)
    assert torch.equal(model.export()(image), source)
    model = trusted()
    assert not torch.equal(model.predict(image), source)
    torch.testing.assert_close(model.export()(image), model.predict(image))
    spoil(model)
    assert torch.equal(model.predict(image), source)
    assert torch.equal(model.export()(image), source)
    other = adapt(source_model(), "tent", statistics="batch")
    file = io.BytesIO()
    torch.save(trusted().state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.trusted
    other.reset()
    assert torch.equal(other.predict(image), source)


def test_every_follows_the_guard() -> None:
    """Calls between adaptations answer as the last adaptation was judged."""
    model = adapt(source_model(), "tent", statistics="batch", every=2)
    images = [image for image, _ in stream("contrast", 12, 64)]
    served = [not torch.equal(model(image), source_model()(image)) for image in images]
    assert served[:2] == [False, False]  # 64 samples are no evidence
    assert served[-2:] == [True, True]
    skipping = adapt(source_model(), "tent", statistics="batch", skip_reliable=1.0)
    assert torch.equal(skipping(images[0]), source_model()(images[0]))


def test_server_follows_the_guard() -> None:
    """A snapshot of what is not trusted is the unadapted network."""
    image = next(iter(stream("contrast", 1, 16)))[0]
    with SnapshotServer(adapt(source_model(), "tent", statistics="batch")) as server:
        for _ in range(2):
            torch.testing.assert_close(server(image), source_model()(image))
            server.wait()
        assert server.published == 2


def test_offline_follows_the_guard() -> None:
    """After a fit that went well calls are adapted; after one that did not they are not."""
    images = [image for image, _ in stream("contrast", 6, 64)]
    model = adapt(source_model(), "tent", statistics="batch", protocol="offline")
    model.fit(images)
    assert not torch.equal(model(images[0]), source_model()(images[0]))
    model = adapt(source_model(), "tent", statistics="batch", protocol="offline", lr=50.0)
    model.fit(images)
    assert torch.equal(model(images[0]), source_model()(images[0]))


def test_fit_twice_over_an_iterator() -> None:
    """A generator would give nothing the second time, silently."""
    model = adapt(source_model(), "tent", protocol="offline", guard=False)
    with pytest.raises(ValueError, match="is an iterator, which can be read once, but epochs=2"):
        model.fit((image for image, _ in stream("mixed", 2, 16)), epochs=2)
    model.fit((image for image, _ in stream("mixed", 2, 16)))
    assert model.report()["updates"] == 2


# Stream, images a batch, settings, what the log has to say.
NAMED: list[tuple[str, int, dict[str, Any], str]] = [
    ("one class", 16, {"statistics": "batch"}, "resting for .*: (entropy|predictions spread)"),
    ("one class contrast", 64, {"statistics": "batch"}, "predictions spread over"),
    ("sorted", 16, {"statistics": "batch"}, "resting for .*: (entropy|predictions spread)"),
    ("black", 16, {}, "shows nothing: its images are constant; nothing is learnt"),
    ("mixed", 16, {"lr": 0.025}, "parameters are .* away from the source"),
    ("mixed", 1, {"statistics": "batch"}, "resting for .*: entropy"),
    ("mixed", 1, {"lr": 0.02}, "parameters are .* away from the source"),
    ("nan", 16, {"statistics": "running"}, "values that are not finite; nothing is learnt"),
    ("alternating", 16, {"statistics": "batch"}, "answered by the unadapted model: entropy"),
]


@pytest.mark.parametrize("case", NAMED, ids=lambda case: f"{case[0].replace(' ', '_')}-{case[1]}")
def test_log_names_the_cause(
    case: tuple[str, int, dict[str, Any], str], caplog: pytest.LogCaptureFixture
) -> None:
    kind, count, settings, message = case
    model = adapt(source_model(), "tent", **settings)
    with caplog.at_level(logging.WARNING, logger="uda.tta"):
        accuracies(model, stream(kind, 60 if count > 1 else 250, count))
    lines = "\n".join(record.getMessage() for record in caplog.records)
    assert re.search(message, lines), lines
    assert causes(model.report()) != "nothing"


def test_log_stays_short(caplog: pytest.LogCaptureFixture) -> None:
    """Of 200 batches of a kind eight are logged, each with the count."""
    with caplog.at_level(logging.WARNING, logger="uda.tta"):
        for count in range(1, 201):
            warn_rarely(count, "batch %d is odd", 10 * count)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 8
    assert told[-1] == "batch 1280 is odd; nothing is learnt from it (128 so far)"


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A row: the guarded model is no worse where the adaptation alone is."""
    name, unadapted, alone, guarded, named = row_of(
        "tent", ("one class", 16, {"statistics": "batch"}), steps=60
    )
    assert name == "one_class-16-batch"
    assert alone < unadapted - 1 <= guarded
    assert "entropy" in str(named)
    assert not math.isnan(float(guarded))
    main(["--steps", "2"])
    assert capsys.readouterr().out.count("\n| ") >= 15
