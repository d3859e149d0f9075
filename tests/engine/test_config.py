"""Checking configs: every kind of wrong key, and every config of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmseg
import pytest
from mmengine.config import Config

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
    ("custom_hooks.1.intervall", 1, r"custom_hooks\[1\]: PictureLog .*Did you mean 'interval'"),
    ("modle", {}, r"unknown key 'modle'. Did you mean 'model'"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=[key for key, *_ in WRONG])
def test_check_config_errors(config_file: Path, key: str, value: Any, message: str) -> None:
    """A wrong key is named with its place, its file and the nearest right one."""
    with pytest.raises(ValueError, match=message) as error:
        load_config(config_file, {key: value})
    assert str(config_file) in str(error.value)


def test_load_config_values(config_file: Path) -> None:
    """Options reach nested places and are checked with the rest."""
    config = load_config(config_file, {"model.method.teacher.decay": 0.5})
    assert config.model.method.teacher.decay == 0.5


def test_load_config_errors(tmp_path: Path) -> None:
    """A missing file is named with its full path."""
    with pytest.raises(FileNotFoundError, match=r"no config .*nothing\.py"):
        load_config(tmp_path / "nothing.py")
