"""Training and evaluation by a config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

import uda.engine  # noqa: F401 - registers everything
from uda.data.joined import settings_of
from uda.engine.checkpoint_files import checkpoints, newest_checkpoint
from uda.engine.checkpoints import FittingCheckpoint
from uda.engine.config import check_complete, check_config, check_options, check_structure
from uda.engine.config_file import merge_options, read_config
from uda.engine.config_values import HIGHEST_SEED
from uda.engine.determinism import choose_determinism
from uda.engine.host_memory import keep_freed_memory
from uda.engine.model import further_batches
from uda.engine.non_finite import NonFinite
from uda.engine.run_record import RunRecord
from uda.engine.runner import AdaptationRunner
from uda.models.segmentation_network import check_num_classes
from uda.models.state_dicts import read_entry

Precision = Literal["off", "bf16", "fp16"]
Launcher = Literal["none", "pytorch", "slurm"]


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """The config of a file, with `options` ("model.method.teacher.decay": 0.99) merged in.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, a key is unknown (the nearest known one is proposed),
            or a value is of the wrong type or out of range.
    """
    config = read_config(path)
    if options:
        check_options(options)
        merge_options(config, options)
    check_structure(config)
    # mmseg looks up its own parts by this name; the Runner would set it too late for other tools.
    init_default_scope(config.get("default_scope", "mmseg"))
    check_config(config)
    check_complete(config)
    check_classes(config)
    return config


def check_classes(config: Config) -> None:
    """Raise if the network's heads or the data sets disagree about the classes.

    Raises:
        ValueError: Names the head or data set and both numbers.
    """
    if config.get("train_dataloader") is None:
        return
    pairs = config.train_dataloader.dataset
    sources = settings_of(pairs.get("source"))
    classes = sources[0].get("classes") if sources else None
    if classes is None:
        return
    check_num_classes(config.model.network, len(classes))
    others = [("further source", one) for one in sources[1:]]
    others += [("target", one) for one in settings_of(pairs.get("target"))]
    if config.get("val_dataloader") is not None:
        others.append(("validation", config.val_dataloader.dataset))
    for name, dataset in others:
        given = (dataset or {}).get("classes")
        if given is not None and list(given) != list(classes):
            raise ValueError(
                f"The source has the classes {list(classes)}, the {name} set {list(given)}; "
                "give all sets one list (and a label_map where raw ids differ)."
            )


def build_runner(
    config: Config,
    *,
    work_dir: str | Path,
    seed: int | None = None,
    amp: Precision = "off",
    launcher: Launcher = "none",
    resume: bool = False,
    trust_checkpoint: bool = False,
    deterministic: bool = False,
) -> AdaptationRunner:
    """The Runner for a config.

    Args:
        config: From `load_config`; changed by the other arguments.
        work_dir: Folder of the run.
        seed: Replaces the config's seed.
        amp: Precision of forward passes.
        launcher: How several processes were started.
        resume: Go on from the newest undamaged checkpoint in `work_dir`; without any, a new run
            starts and a warning says so.
        trust_checkpoint: Read checkpoints whole, code in them included.
        deterministic: Take only operations that give the same bits each time, and refuse others.

    Raises:
        ValueError: The config has nothing to train on, the seed is out of range, fp16 was asked
            for without a GPU, all checkpoints are damaged, or the environment contradicts
            `deterministic`.
    """
    if config.get("train_dataloader") is None:
        raise ValueError(f"{config.filename} has no train_dataloader: nothing to train on.")
    if seed is not None and not 0 <= seed <= HIGHEST_SEED:
        raise ValueError(f"the seed has to be a whole number from 0 to {HIGHEST_SEED}, not {seed}.")
    config.work_dir = str(work_dir)
    config.launcher = launcher
    if seed is not None:
        config.randomness = {**config.get("randomness", {}), "seed": seed}
    if not torch.cuda.is_available():
        keep_freed_memory()
    set_further_batches(config)
    choose_determinism(config, deterministic)
    set_precision(config, amp)
    if launcher != "none":
        config.model_wrapper_cfg = {"type": "Replicated"}
        set_threads()
        if not torch.cuda.is_available():
            start_gloo(launcher)
        count_each_image_once(config)
    found = newest_checkpoint(work_dir) if resume else None
    if found is not None:
        config.load_from = str(found)
    config.resume = found is not None
    fix_seed(config, found, asked=seed, launcher=launcher)
    runner: AdaptationRunner = AdaptationRunner.from_cfg(config)
    runner.trust_checkpoint = trust_checkpoint
    if resume and found is None:
        runner.logger.warning(f"There is no checkpoint in {work_dir} yet: a new run starts.")
    if not any(isinstance(hook, NonFinite) for hook in runner.hooks):
        runner.register_hook(NonFinite())
    runner.register_hook(FittingCheckpoint())
    runner.register_hook(RunRecord())
    return runner


def fix_seed(
    config: Config, resumed: Path | None, *, asked: int | None, launcher: Launcher = "none"
) -> None:
    """Settle the seed before anything draws by it; a resumed run goes on with its own.

    Args:
        config: Gets a seed if it has none.
        resumed: The checkpoint that is resumed, or None.
        asked: The seed of the command line.
        launcher: How several processes were started.

    Raises:
        ValueError: Another seed than that of the run was asked for, or several processes have none.
    """
    randomness = config.get("randomness", {})
    saved = read_entry(resumed, "meta").get("seed") if resumed is not None else None
    if saved is not None:
        if asked is not None and asked != saved:
            raise ValueError(
                f"{resumed} is of a run with seed {saved}; with --seed {asked} it would go on with "
                f"other images. Leave --seed out, or start another run in another --work-dir."
            )
        config.randomness = {**randomness, "seed": int(saved)}
    elif randomness.get("seed") is None:
        if launcher != "none":
            raise ValueError("several processes need a seed in common; give --seed.")
        drawn = int.from_bytes(os.urandom(4), "big") % (HIGHEST_SEED + 1)
        config.randomness = {**randomness, "seed": drawn}


def check_unused(work_dir: str | Path) -> None:
    """Refuse a folder that holds checkpoints of an earlier run, unless that is to be resumed.

    The new run would replace them one by one, and a resume before its first checkpoint would go on
    with the earlier run.

    Raises:
        ValueError: Names the newest checkpoint and what to do.
    """
    found = checkpoints(work_dir)
    if found:
        raise ValueError(
            f"{work_dir} holds checkpoints of an earlier run ({found[0].name}). Go on with it by "
            "--resume, or give another --work-dir, or move the folder away."
        )


def count_each_image_once(config: Config) -> None:
    """Have validation in several processes see no image twice, unless the config insists.

    mmengine's sampler repeats images until all processes have equally many.
    """
    for name in ("val_dataloader", "test_dataloader"):
        sampler = (config.get(name) or {}).get("sampler")
        if isinstance(sampler, dict) and sampler.get("type") == "DefaultSampler":
            sampler.setdefault("round_up", False)


def set_further_batches(config: Config) -> None:
    """Have the loader draw the further batches that the config's look-ahead needs, if any."""
    dataset = config.train_dataloader.dataset
    wanted = further_batches(config.model.get("method") or {})
    if dataset.get("type") == "SourceTargetPairs" and (wanted or "further" in dataset):
        dataset.further = wanted


def set_precision(config: Config, amp: Precision) -> None:
    """Choose the optimiser wrapper for a precision."""
    if amp == "off":
        return
    if amp == "fp16" and not torch.cuda.is_available():
        raise ValueError("--amp fp16 needs a CUDA device; on a CPU use --amp bf16 or off.")
    wrapper = {"bf16": "BFloat16OptimWrapper", "fp16": "AmpOptimWrapper"}[amp]
    config.optim_wrapper.type = wrapper


def set_threads() -> None:
    """One thread a process for what processes start from here on, unless the environment says more.

    mmengine would do just this, and warn of it in every process.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def start_gloo(launcher: Launcher, tool: str = "tools/train.py CONFIG") -> None:
    """Join the processes on a machine without GPU, before mmengine would ask for one.

    Args:
        launcher: How they were started.
        tool: What they run, for the message.

    Raises:
        ValueError: They were started in another way.
    """
    if launcher != "pytorch":
        raise ValueError("Without a GPU only --launcher pytorch (torchrun) can start processes.")
    missing = [k for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if k not in os.environ]
    if missing:
        raise ValueError(
            f"--launcher pytorch needs {', '.join(missing)} in the environment; start by "
            f"`torchrun --nproc_per_node 2 {tool} --launcher pytorch`."
        )
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
