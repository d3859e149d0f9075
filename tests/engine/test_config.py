"""Checking configs: every kind of wrong key, and every config of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmseg
import pytest
from mmengine.config import Config
from torch import nn

from uda.engine.config import check_config
from uda.engine.train import load_config

from .tiny_run import PROJECT, write_config

CONFIGS = sorted(
    path.relative_to(PROJECT).as_posix()
    for path in (PROJECT / "configs").rglob("*.py")
    if "_base_" not in path.parts
)
MMSEG = sorted((Path(mmseg.__file__).parent / ".mim/configs/_base_/models").glob("*.py"))


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config without a fault."""
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_properties(name: str) -> None:
    """Every config of the project passes and names a model, data and a schedule."""
    config = load_config(PROJECT / name)
    for key in ("model", "train_dataloader", "optim_wrapper", "param_scheduler"):
        assert key in config
    assert config.filename == str(PROJECT / name)


def test_configs_are_found_properties() -> None:
    """The list above is not empty, nor is that of mmseg's own."""
    assert len(CONFIGS) >= 2
    assert len(MMSEG) > 20


@pytest.mark.parametrize("path", MMSEG, ids=lambda path: path.stem)
def test_mmseg_models_properties(path: Path) -> None:
    """Every model config that mmseg ships passes as a network."""
    model = Config.fromfile(str(path), import_custom_modules=False).model
    check_config(Config({"model": {"type": "DomainAdaptation", "network": model}}))


WRONG: list[tuple[str, Any, str]] = [
    ("model.methd", {}, r"model: DomainAdaptation has no argument 'methd'.*'method'"),
    ("model.method.terns", [], r"model.method: SelfTraining has no argument 'terns'.*'terms'"),
    ("model.method.teacher.decya", 1, r"method.teacher: EMATeacher has no .*'decya'.*'decay'"),
    ("model.method.selector.treshold", 1, r"ConfidenceShare has no .*Did you mean 'threshold'"),
    ("model.method.mixer.candidate", 1, r"ClassMix has no argument .*Did you mean 'candidates'"),
    ("model.method.view.gates", 1, r"ColorJitterBlur has no argument .*Did you mean 'gate'"),
    ("model.method.terms.0.wieght", 1, r"method.terms\[0\]: FeatureDistance .*'weight'"),
    ("model.network.decode_head.chanels", 1, r"decode_head: LightHead .*Did you mean 'channels'"),
    ("model.network.backbone.depth", 1, r"backbone: MixTransformer .*Did you mean 'depths'"),
    ("model.data_preprocessor.meen", 1, r"SegDataPreProcessor has no argument .*'mean'"),
    ("optim_wrapper.clip_gard", {}, r"optim_wrapper: OptimWrapper .*Did you mean 'clip_grad'"),
    ("optim_wrapper.optimizer.wieght_decay", 1, r"optimizer: AdamW .*'weight_decay'"),
    ("param_scheduler.0.warm_up", 1, r"param_scheduler\[0\]: WarmUpPolyLR .*'warmup'"),
    ("train_cfg.max_iter", 1, r"train_cfg: IterBasedTrainLoop .*Did you mean 'max_iters'"),
    ("train_dataloader.dataset.sampeling", 1, r"SourceTargetPairs .*Did you mean 'sampling'"),
    ("train_dataloader.dataset.source.label_dirs", 1, r"source: FolderDataset .*'label_dir'"),
    ("train_dataloader.dataset.source.pipeline.2.crop", 1, r"pipeline\[2\]: RandomCrop .*'crop_"),
    ("train_dataloader.sampler.seeds", 1, r"sampler: DrawSampler .*Did you mean 'seed'"),
    ("val_evaluator.prefx", 1, r"val_evaluator: SegmentationMetric .*Did you mean 'prefix'"),
    ("default_hooks.logger.intervall", 1, r"DeviceLogger .*Did you mean 'interval'"),
    ("custom_hooks.2.intervall", 1, r"custom_hooks\[2\]: PictureLog .*Did you mean 'interval'"),
    ("default_hooks.checkpoint.intervall", 1, r"Checkpoint has no argument .*'interval'"),
    ("train_dataloader.batchsize", 1, r"train_dataloader: a loader has no .*'batch_size'"),
    ("val_dataloader.num_worker", 1, r"val_dataloader: a loader has no .*'num_workers'"),
    ("model.type", "DomainAdaption", r"model: there is no type .*'DomainAdaptation'"),
    ("model.method.mixer.type", "ClasMix", r"mixer: there is no type 'ClasMix' .*'ClassMix'"),
    ("model.network.backbone.type", "MixTransfomer", r"backbone: .*Did you mean 'MixTransformer'"),
    ("train_dataloader.dataset.source.pipeline.2.type", "RandmCrop", r"\[2\]: .*'RandomCrop'"),
    ("optim_wrapper.optimizer.type", "AdmW", r"optimizer: there is no type 'AdmW' .*'AdamW'"),
    ("val_evaluator.type", "SegmentationMetrics", r"val_evaluator: .*'SegmentationMetric'"),
    ("custom_hooks.0.type", "RandomStates", r"custom_hooks\[0\]: .*'RandomState'"),
    ("param_scheduler.0.by_epoch", True, r"WarmUpPolyLR needs by_epoch=False; .* would be 0"),
    ("optim_wrapper.opponents", {"d": {"type": "Adm"}}, r"opponents.d: there is no type 'Adm'"),
    ("param_scheduler", [{"type": "CosineLR"}], r"CosineLR needs by_epoch=False"),
    ("label_generation.selector", {"type": "InstanceAdaptiv"}, r"selector: .*'InstanceAdaptive'"),
    ("optim_wrapper.accumulative_counts", 2, r"counts=2: .* you want and model\.micro_batches=2"),
    ("model_wrapper_cfg.type", "MMDistributedDataParallel", r"would train the first pass of a met"),
    ("param_scheduler", [{"type": "WarmUpDecayLR"}], r"WarmUpDecayLR needs by_epoch=False"),
    (
        "optim_wrapper.paramwise_cfg.batch_size",
        7,
        r"paramwise_cfg.batch_size=7, .* is not train_dataloader.batch_size=\d; set both",
    ),
    ("sync_bn", "torch", r"sync_bn='torch': .* set model\.sync_batch_norm=True instead"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=[key for key, *_ in WRONG])
def test_check_config_errors(config_file: Path, key: str, value: Any, message: str) -> None:
    """What is wrong is named with its place, its file and the nearest right name."""
    with pytest.raises(ValueError, match=message) as error:
        load_config(config_file, {key: value})
    assert str(config_file) in str(error.value)


OWN_NAMES = ("crop_size", "norm_cfg", "optimizer", "max_iters", "train_pipeline", "_modle")


@pytest.mark.parametrize("name", OWN_NAMES)
def test_own_variable_values(tmp_path: Path, name: str) -> None:
    """A config may be put together from variables of any name."""
    file = write_config(tmp_path)
    file.write_text(file.read_text() + f"{name} = dict(a=[1, 2])\n")
    assert load_config(file)[name] == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("name", "known"), [("modle", "model"), ("custom_hook", "custom_hooks"), ("lod_from", "load")]
)
def test_own_variable_errors(tmp_path: Path, name: str, known: str) -> None:
    """A variable named almost like a known one is a slip, and the way out is told."""
    file = write_config(tmp_path)
    file.write_text(file.read_text() + f"{name} = dict()\n")
    with pytest.raises(ValueError, match=f"unknown key '{name}'. Did you mean '{known}") as error:
        load_config(file)
    assert str(file) in str(error.value)
    assert f"another name, such as '_{name}'" in str(error.value)


@pytest.mark.parametrize("option", ["modle.type", "crop_size", "_own"])
def test_check_options_errors(config_file: Path, option: str) -> None:
    """An option for a name that nobody reads is refused: it would change nothing."""
    with pytest.raises(ValueError, match=f"unknown key .* in the option '{option}'.*used up"):
        load_config(config_file, {option: 1})


def test_schedule_without_by_epoch_errors(config_file: Path) -> None:
    """mmengine would count epochs, of which there is one: a missing by_epoch is refused."""
    config = load_config(config_file)
    del config.param_scheduler[0]["by_epoch"]
    with pytest.raises(ValueError, match="WarmUpPolyLR needs by_epoch=False"):
        check_config(config)


@pytest.mark.parametrize("place", ["selector", "primary.selector"])
def test_margins_and_ignored_rows_errors(config_file: Path, place: str) -> None:
    """Margins of the image and rows of the crop take the same border away twice."""
    config = load_config(config_file)
    pipeline = config.train_dataloader.dataset.target.pipeline
    pipeline.insert(1, {"type": "PseudoLabelMargins", "top": 2})
    pipeline[-1] = {"type": "PackTarget"}
    check_config(config)
    selector = {"type": "ConfidenceShare", "ignore_rows": (1, 2)}
    group = {"type": "SelfTraining", "selector": selector}
    config.model.method = (
        group if place == "selector" else {"type": "DualTeacherStudent", "primary": group}
    )
    with pytest.raises(ValueError, match=rf"method.{place}: ignore_rows=\(1, 2\) are rows of"):
        check_config(config)


FOREIGN = {"transforms": [{"type": "NotInMmseg", "strength": 0.4}]}


@pytest.mark.parametrize("name", ["Albumentations", "TorchvisionView", "Albu"])
def test_foreign_transforms_values(name: str) -> None:
    """Transforms of another library are left to the class that builds them; others are not."""
    place = {"type": name, **FOREIGN}
    if name == "TorchvisionView":
        method = {"type": "SelfTraining", "view": place}
        check_config(Config({"model": {"type": "DomainAdaptation", "method": method}}))
        return
    dataset = {"type": "FolderDataset", "pipeline": [place]}
    check_config(Config({"val_dataloader": {"dataset": dataset}}))
    dataset["pipeline"] = [{"type": "TestTimeAug", "transforms": [FOREIGN["transforms"]]}]
    with pytest.raises(ValueError, match=r"transforms\[0\]\[0\]: there is no type 'NotInMmseg'"):
        check_config(Config({"val_dataloader": {"dataset": dataset}}))


def test_class_as_type_values() -> None:
    """A class itself may stand where its name does; its arguments are checked the same."""
    model = {"type": nn.Conv2d, "in_channels": 3, "out_channels": 3, "kernel_size": 1}
    check_config(Config({"model": model}))
    with pytest.raises(ValueError, match="model: Conv2d has no argument 'kernl_size'"):
        check_config(Config({"model": {**model, "kernl_size": 1}}))


def test_other_package_values() -> None:
    """A type of a package that is not installed is left to the error of its builder."""
    check_config(Config({"model": {"type": "mmdet.HungarianAssigner", "costs": []}}))


def test_load_config_values(config_file: Path) -> None:
    """Options reach nested places and are checked with the rest."""
    config = load_config(config_file, {"model.method.teacher.decay": 0.5})
    assert config.model.method.teacher.decay == 0.5


def test_load_config_errors(tmp_path: Path) -> None:
    """A missing file is named with its full path."""
    with pytest.raises(FileNotFoundError, match=r"no config .*nothing\.py"):
        load_config(tmp_path / "nothing.py")
