"""The Runner's model: batches, padding, predictions, layouts, methods from configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmseg.registry import DATASETS, MODELS
from torch import nn

import uda.engine  # noqa: F401 - registers
from uda.engine.evaluate import load_network
from uda.engine.model import build_method, further_batches
from uda.engine.optim import ParameterGroups
from uda.engine.train import load_config, set_further_batches
from uda.evaluation import SegmentationMetric
from uda.methods import Method
from uda.registry import METHODS

from .tiny_run import SIZE, data_config, model_config, write_config, write_data


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Loader configs on written images."""
    return data_config(write_data(tmp_path_factory.mktemp("model") / "data"), workers=0)


def training_data(loaders: dict[str, Any]) -> dict[str, Any]:
    """The first batch of two pairs."""
    dataset = DATASETS.build(ConfigDict(loaders["train_dataloader"]["dataset"]))
    batch: dict[str, Any] = pseudo_collate([dataset[(0, 0)], dataset[(0, 1)]])
    return batch


def make_model(**changes: Any) -> Any:
    """The tiny model, initialised."""
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(model_config(**changes)))
    model.init_weights()
    return model


def train_once(model: Any, data: dict[str, Any]) -> dict[str, float]:
    """The log of one seeded iteration of gradient descent."""
    wrapper = OptimWrapper(torch.optim.SGD(model.method.student.parameters(), lr=0.1))
    torch.manual_seed(0)
    model.train()
    assert model.train_step(data, wrapper) == {}
    log: dict[str, float] = model.log.pop()
    return log


def test_batch_values(loaders: dict[str, Any]) -> None:
    """Pixels become RGB, minus 127.5, over 60; labels int64; nothing is padded."""
    data = training_data(loaders)
    batch = make_model().batch(data)
    pixels = data["source"]["inputs"][0].flip(0).float()
    torch.testing.assert_close(batch.source.image[0], (pixels - 127.5) / 60)
    assert batch.source.label.dtype == torch.int64
    assert batch.source.label.shape == (2, SIZE // 2, SIZE)
    assert batch.target.image.shape == (2, 3, SIZE // 2, SIZE)
    assert batch.target.valid is None


def test_batch_without_target_values(loaders: dict[str, Any]) -> None:
    """Source-only loaders give a batch without target, which source-only training takes."""
    data = training_data(loaders)
    del data["target"]
    model = make_model(method={"type": "SourceOnly"})
    assert model.batch(data).target is None
    assert set(train_once(model, data)) == {"source/ce", "source/accuracy", "loss"}
    assert model.evaluate == ["student"]


def test_channels_last_parity(loaders: dict[str, Any]) -> None:
    """Channels-last layout reaches weights and images, and changes nothing but rounding."""
    data = training_data(loaders)
    plain, last = make_model(), make_model(channels_last=True)
    last.load_state_dict(plain.state_dict())
    weight = last.method.student.segmentor.backbone.patch_embed2.proj.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    image = last.batch(data).source.image
    assert image.is_contiguous(memory_format=torch.channels_last)
    logs = [train_once(model, data) for model in (plain, last)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4, abs=1e-5)
    for one, two in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_forward_values(loaders: dict[str, Any]) -> None:
    """Predictions of the student under mmseg's name, of the teacher under its own."""
    dataset = DATASETS.build(ConfigDict(loaders["val_dataloader"]["dataset"]))
    model = make_model().eval()
    nn.init.constant_(model.method.teacher.network.segmentor.decode_head.conv_seg.bias, 0.0)
    model.method.teacher.network.segmentor.decode_head.conv_seg.bias.data[2] = 1e3
    (sample,) = model.val_step(pseudo_collate([dataset[0]]))
    prediction = sample.pred_sem_seg.data
    inputs = model.data_preprocessor(pseudo_collate([dataset[0]]), False)["inputs"]
    with torch.no_grad():
        wanted = model.method.student(inputs).logits.argmax(1)
    assert torch.equal(prediction, wanted)
    assert sample.teacher_pred_sem_seg.data.unique().tolist() == [2]
    assert "seg_logits" not in sample
    assert sample.metainfo["pred_network"] == "student"


def test_forward_of_teacher_values(loaders: dict[str, Any]) -> None:
    """The teacher alone is evaluated and reported under its own name."""
    dataset = DATASETS.build(ConfigDict(loaders["val_dataloader"]["dataset"]))
    model = make_model(evaluate=["teacher"]).eval()
    (sample,) = model.val_step(pseudo_collate([dataset[0]]))
    assert sample.metainfo["pred_network"] == "teacher"
    assert "teacher_pred_sem_seg" not in sample
    metric = SegmentationMetric()
    metric.dataset_meta = dataset.metainfo
    metric.process(None, [sample.to_dict()])
    assert {name.partition("/")[0] for name in metric.evaluate(1)} == {"teacher"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_train_step_on_gpu_waits_for_nothing(loaders: dict[str, Any]) -> None:
    """No step waits for the device, also not where images are padded."""
    config = model_config()["data_preprocessor"]
    model = make_model(data_preprocessor={**config, "size": (40, SIZE)}).cuda().train()
    data = training_data(loaders)
    wrapper = OptimWrapper(torch.optim.SGD(model.method.student.parameters(), lr=0.1))
    model.train_step(data, wrapper)  # cuDNN's choice of algorithms
    torch.cuda.set_sync_debug_mode("error")
    try:
        model.train_step(data, wrapper)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_forward_errors() -> None:
    """Modes that mmengine's own training uses are refused."""
    with pytest.raises(
        ValueError, match=r"trained by train_step; forward\(mode='loss'\) is what a foreign wrapper"
    ):
        make_model()(torch.zeros(1, 3, 32, 32), mode="loss")


def test_build_method_values() -> None:
    """Number of classes and normalisation come from the network and the preprocessor."""
    method = make_model().method
    assert method.mixer.num_classes == 3
    assert method.terms[0].num_classes == 3
    assert method.view.mean.flatten().tolist() == pytest.approx([0.5] * 3)
    assert method.teacher.network is not method.student


def test_build_own_method_values() -> None:
    """A method of one's own need not take terms."""

    @METHODS.register_module(name="OwnMethodOfATest")
    class Own(Method):
        def __init__(self, *, student: nn.Module, strength: float = 1.0) -> None:
            super().__init__(student=student)
            self.strength = strength

    try:
        own = build_method({"type": "OwnMethodOfATest", "strength": 2.0}, nn.Identity())
        assert isinstance(own, Own)
        assert own.strength == 2
    finally:
        METHODS._module_dict.pop("OwnMethodOfATest")


WIDE = {"type": "LookAhead", "mode": "wide", "steps": 2}


def test_look_ahead_values(loaders: dict[str, Any]) -> None:
    """One key of the config, whatever the method; the further batches come from the loader."""
    method = {**model_config()["method"], "look_ahead": WIDE}
    assert further_batches(method) == 2
    assert further_batches(model_config()["method"]) == 0
    assert further_batches({**method, "look_ahead": {**WIDE, "mode": "deep"}}) == 0
    model = make_model(method=method)
    dataset = DATASETS.build(ConfigDict({**loaders["train_dataloader"]["dataset"], "further": 2}))
    data = pseudo_collate([dataset[(0, 0)], dataset[(0, 1)]])
    assert "virtual/loss" not in train_once(model, data)
    assert "virtual/loss" in train_once(model, data)
    del data["further"]
    with pytest.raises(ValueError, match="needs 2 further batches an iteration and got 0"):
        train_once(model, data)


def test_further_batches_of_a_run_values(tmp_path: Path) -> None:
    """The data set of a run draws what the look-ahead needs; without one it is left alone."""
    config = load_config(write_config(tmp_path))
    set_further_batches(config)
    assert "further" not in config.train_dataloader.dataset
    for settings, wanted in ((WIDE, 2), ({"type": "LookAhead"}, 0)):
        config.model.method.look_ahead = settings
        set_further_batches(config)
        assert config.train_dataloader.dataset.further == wanted


def test_look_ahead_config_errors(tmp_path: Path) -> None:
    """A wrong key or value of a look-ahead is told before anything is built."""
    config = write_config(tmp_path)
    key = "model.method.look_ahead"
    with pytest.raises(ValueError, match=r"LookAhead has no argument 'step'. Did you mean 'steps'"):
        load_config(config, {key: {"type": "LookAhead", "step": 2}})
    with pytest.raises(ValueError, match=r"look_ahead.mode='long': wanted 'deep' or 'wide'"):
        load_config(config, {key: {"type": "LookAhead", "mode": "long"}})


def dual_config(**changes: Any) -> dict[str, Any]:
    """Two groups of the tiny method, the second looking ahead widely."""
    group = model_config()["method"]
    return {
        "type": "DualTeacherStudent",
        "primary": group,
        "secondary": {**group, "look_ahead": WIDE},
        "target_mix": {"type": "TargetMix"},
        **changes,
    }


def test_dual_teacher_student_values(loaders: dict[str, Any]) -> None:
    """Two networks of one config with other weights; one optimiser for both; two target draws."""
    model = make_model(method=dual_config(), evaluate=["student", "primary_teacher"])
    assert further_batches(dual_config()) == model.method.further_batches == 2
    one, two = (group.student for group in model.method.groups)
    heads = [student.segmentor.decode_head.conv_seg.weight for student in (one, two)]
    assert not torch.equal(*heads)
    wrapper = ParameterGroups({"optimizer": {"type": "SGD", "lr": 0.1}})(model)
    moved = sum(len(group["params"]) for group in wrapper.optimizer.param_groups)
    assert moved == len(list(one.parameters())) + len(list(two.parameters()))
    settings = {"further": 2, "second_target": True}
    dataset = DATASETS.build(ConfigDict({**loaders["train_dataloader"]["dataset"], **settings}))
    data = pseudo_collate([dataset[(0, 0)], dataset[(0, 1)]])
    batch = model.batch(data)
    assert not torch.equal(batch.second_target.image, batch.target.image)
    before = [head.clone() for head in heads]
    for _ in range(2):
        assert model.train_step(data, wrapper) == {}
    assert not any(torch.equal(old, new) for old, new in zip(before, heads, strict=True))
    assert "secondary/virtual/loss" in model.log.pop()


def test_dual_teacher_student_checkpoint_values(tmp_path: Path) -> None:
    """A full checkpoint gives the deployed group's networks to the tools."""
    config = load_config(write_config(tmp_path))
    for deploy in ("primary", "secondary"):
        config.model.method = ConfigDict(dual_config(deploy=deploy))
        config.model.method.secondary.pop("look_ahead")
        model = MODELS.build(config.model)
        model.init_weights()
        file = tmp_path / f"{deploy}.pth"
        torch.save({"state_dict": model.state_dict()}, file)
        wanted = getattr(model.method, deploy).student.segmentor.decode_head.conv_seg.weight
        loaded: Any = load_network(config, file).segmentor
        assert torch.equal(loaded.decode_head.conv_seg.weight, wanted)


def test_build_method_errors() -> None:
    """A wrong part is named, and the nearest right one."""
    config = model_config()["method"]
    config["mixer"] = {"type": "ClasMix"}
    with pytest.raises(ValueError, match="no mixer 'ClasMix'. Did you mean 'ClassMix'"):
        build_method(config, nn.Conv2d(3, 3, 1), num_classes=3)


def test_write_data_properties(tmp_path: Path) -> None:
    """The tests' images are the same each time they are written."""
    files = [sorted(write_data(tmp_path / name).rglob("*.png")) for name in ("a", "b")]
    assert len(files[0]) == 20
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


def test_start_values(tmp_path: Path) -> None:
    """A student starts from one network of another run, of another method; all else is new."""
    torch.manual_seed(0)
    first = MODELS.build(model_config())
    first.init_weights()
    for parameter in first.method.teacher.network.parameters():
        parameter.data += 1
    file = tmp_path / "iter_3.pth"
    torch.save({"state_dict": first.state_dict()}, file)
    torch.manual_seed(1)
    start = {"checkpoint": str(file), "network": "teacher"}
    second = MODELS.build(model_config(method={"type": "SourceOnly"}, start=start))
    second.init_weights()
    wanted = first.method.teacher.network.state_dict()
    for name, value in second.method.student.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_start_errors(tmp_path: Path) -> None:
    """Unknown keys, no file, another network."""
    for start in ({"network": "student"}, {"checkpoint": "a.pth", "weights": "b.pth"}):
        with pytest.raises(ValueError, match=r"model.start takes a checkpoint .* not \['"):
            MODELS.build(model_config(start=start))
    missing = MODELS.build(model_config(start={"checkpoint": str(tmp_path / "no.pth")}))
    with pytest.raises(FileNotFoundError, match=r"no.pth"):
        missing.init_weights()


def test_masked_consistency_in_micro_batches_values(loaders: dict[str, Any]) -> None:
    """A term's parts are built from its config; its pass is cut into parts like the others.

    Without batch normalisation and dropout both give the same losses, with the same masks.
    """
    term = {
        "type": "MaskedConsistency",
        "block_size": 16,
        "view": {"type": "ColorJitterBlur"},
        "teacher": {"type": "EMATeacher", "decay": 0.9, "mode": "eval"},
        "selector": {"type": "ConfidenceShare", "threshold": 0.3},
    }
    method = {**model_config()["method"], "terms": [term]}
    logs = []
    for parts in (1, 2):
        model = make_model(method=method, micro_batches=parts)
        built = model.method.terms[0]
        assert built.view.std.flatten().tolist() == pytest.approx([60 / 255] * 3)
        assert built.teacher.decay == 0.9
        for module in model.modules():
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.Dropout, nn.Dropout2d)):
                module.training = False
                module.train = lambda mode=True, m=module: m  # type: ignore[method-assign]
            if type(module).__name__ == "DropPath":
                module.drop_prob = 0.0
        logs.append(train_once(model, training_data(loaders)))
    assert logs[0]["masked/ce"] > 0
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)
