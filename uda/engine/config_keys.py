"""What may stand where in a config: names, registries, keys that builders take."""

from __future__ import annotations

import inspect

from mmengine.registry import (
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    MODEL_WRAPPERS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
    Registry,
)
from mmseg.registry import DATA_SAMPLERS, DATASETS, METRICS, MODELS, TASK_UTILS, TRANSFORMS
from torch.utils.data import DataLoader

from uda.data.rare_class_sampling import RareClassSampling
from uda.registry import LOOK_AHEADS, METHODS, MIXERS, SELECTORS, TEACHERS, TERMS, VIEWS

# Top-level names that the Runner and our tools read.
TOP_LEVEL = {
    "auto_scale_lr",
    "custom_hooks",
    "custom_imports",
    "default_hooks",
    "default_scope",
    "env_cfg",
    "evaluation_sets",
    "experiment_name",
    "find_unused_parameters",
    "label_generation",
    "launcher",
    "load_from",
    "log_level",
    "log_processor",
    "model",
    "model_wrapper_cfg",
    "optim_wrapper",
    "param_scheduler",
    "randomness",
    "resume",
    "rounds",
    "stream",
    "sync_bn",
    "test_cfg",
    "test_dataloader",
    "test_evaluator",
    "train_cfg",
    "train_dataloader",
    "val_cfg",
    "val_dataloader",
    "val_evaluator",
    "visualizer",
    "work_dir",
}
_DATA = (DATASETS, TRANSFORMS, DATA_SAMPLERS, FUNCTIONS)
# The places of a config whose dicts are built by a registry.
PLACES: dict[str, tuple[Registry, ...]] = {
    "model": (
        MODELS,
        METHODS,
        TEACHERS,
        SELECTORS,
        MIXERS,
        VIEWS,
        TERMS,
        LOOK_AHEADS,
        TASK_UTILS,
        WEIGHT_INITIALIZERS,
    ),
    "label_generation": (SELECTORS,),
    "model_wrapper_cfg": (MODEL_WRAPPERS,),
    "train_dataloader": _DATA,
    "val_dataloader": _DATA,
    "test_dataloader": _DATA,
    "val_evaluator": (METRICS,),
    "test_evaluator": (METRICS,),
    "optim_wrapper": (OPTIM_WRAPPERS, OPTIMIZERS),
    "param_scheduler": (PARAM_SCHEDULERS,),
    "default_hooks": (HOOKS, *_DATA),  # TargetStatistics can have a data set
    "custom_hooks": (HOOKS, *_DATA),
    "train_cfg": (LOOPS,),
    "val_cfg": (LOOPS,),
    "test_cfg": (LOOPS,),
    "log_processor": (LOG_PROCESSORS,),
    "visualizer": (VISUALIZERS, VISBACKENDS),
}
# Dicts that are read by key, of which mmengine leaves unknown ones unread or fails at them late.
PLAIN_KEYS = {
    "custom_imports": {"imports", "allow_failed_imports"},
    "env_cfg": {"cudnn_benchmark", "dist_cfg", "mp_cfg", "resource_limit"},
    "env_cfg.mp_cfg": {"mp_start_method", "opencv_num_threads"},
    "randomness": {"seed", "deterministic", "diff_rank_seed"},
    "stream": {"domains", "rounds"},
}
# Classes that another class builds by name, without a registry.
UNREGISTERED = {"RareClassSampling": RareClassSampling}
# Places whose dict may go without a `type`.
IMPLIED_TYPES = {"sampling": "RareClassSampling"}
# Keys that a builder takes out before the constructor sees them, by place or by last key.
BUILDER_KEYS = {
    "optim_wrapper": {"constructor", "opponents", "paramwise_cfg"},
    "param_scheduler": {"convert_to_iter_based"},
    "norm_cfg": {"requires_grad"},
    # Any method can look ahead, so that none has to take it as an argument.
    "method": {"look_ahead"},
    "primary": {"look_ahead"},
    "secondary": {"look_ahead"},
}
# Keys of a loader: torch's own, and those that mmengine takes out.
LOADER_KEYS = set(inspect.signature(DataLoader).parameters) | {
    "disable_subprocess_warning",
    "num_batch_per_epoch",
}
# Their `transforms` come from other libraries, and they check them when they are built.
OWN_TRANSFORMS = {"Albu", "Albumentations", "TorchvisionView"}
# Their `**kwargs` reach a function of which every argument is already given.
NO_FURTHER_ARGUMENTS = {"CheckpointHook"}
