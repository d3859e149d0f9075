"""Settings of a config that are right one by one and wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uda.engine.best_score import direction, label_free_names, needs_labels

_LABEL_LOADERS = ("LoadLabel", "LoadAnnotations")
_OWN_DATASETS = ("FolderDataset",)
_BY_ITERATION = ("WarmUpPolyLR", "CosineLR", "WarmUpDecayLR")
_NEEDS = {
    "train": "the source needs labels",
    "val": "LoadLabel in its pipeline needs one; without labels take LoadLabel out, and scores "
    "that need none are logged (docs/checkpoint_choice.md)",
}


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about what does not go together in a config, each with its place."""
    yield from _loop(config)
    yield from _schedules(config)
    yield from _accumulation(config)
    yield from _batch_size(config)
    yield from _processes(config)
    yield from _pipelines(config)
    yield from _best(config)
    yield from _crops(config)
    yield from _margins(config)


def missing(config: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about what a config needs and does not have."""
    model = config.get("model")
    if not model:
        yield "there is no model; a config takes one from configs/_base_/models."
        return
    if model.get("type") == "DomainAdaptation":
        for key in ("network", "method", "data_preprocessor"):
            if key not in model:
                yield f"model has no {key}; the configs in configs/daformer have one."
    loader = config.get("train_dataloader")
    if loader is None:
        return
    if not loader.get("dataset"):
        yield "train_dataloader has no dataset; a config takes one from configs/_base_/data."
    elif loader["dataset"].get("target") == []:
        yield "train_dataloader.dataset.target is an empty list; None trains on the source alone."
    elif loader["dataset"].get("type") == "SourceTargetPairs" and not loader["dataset"].get(
        "source"
    ):
        yield "train_dataloader.dataset has no source: there is nothing to learn from."


def _loop(config: Mapping[str, Any]) -> Iterator[str]:
    if _part(config, "train_cfg").get("fast_forward_on_resume"):
        yield (
            "train_cfg.fast_forward_on_resume=True: a resumed run would see the images of its "
            "first iterations again and end in other weights than a straight one; leave it out. "
            "Skipping costs nothing here: DrawSampler counts and reads no image."
        )


def _schedules(config: Mapping[str, Any]) -> Iterator[str]:
    """The class could not tell: mmengine fills in `end` first, by epoch unless told otherwise."""
    schedules = config.get("param_scheduler") or []
    for schedule in [schedules] if isinstance(schedules, Mapping) else schedules:
        kind = schedule.get("type")
        name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
        if name in _BY_ITERATION and schedule.get("by_epoch", True):
            yield (
                f"param_scheduler: {name} needs by_epoch=False; without it mmengine takes the "
                "number of epochs for its end, and the learning rate would be 0 after one "
                "iteration."
            )


def _accumulation(config: Mapping[str, Any]) -> Iterator[str]:
    count = _part(config, "optim_wrapper").get("accumulative_counts", 1)
    if count != 1:
        yield (
            f"optim_wrapper.accumulative_counts={count}: a method makes one optimiser step an "
            "iteration. For a batch that does not fit into memory set train_dataloader.batch_size "
            f"to the size you want and model.micro_batches={count}."
        )


def _batch_size(config: Mapping[str, Any]) -> Iterator[str]:
    """The optimiser cannot see the loader, so that the number stands in two places."""
    paramwise = _part(_part(config, "optim_wrapper"), "paramwise_cfg")
    scaled, loaded = paramwise.get("batch_size"), _part(config, "train_dataloader")
    if scaled is not None and scaled != loaded.get("batch_size", scaled):
        yield (
            f"optim_wrapper.paramwise_cfg.batch_size={scaled}, by whose root the learning rate is "
            f"multiplied, is not train_dataloader.batch_size={loaded['batch_size']}; set both to "
            "the same."
        )


def _processes(config: Mapping[str, Any]) -> Iterator[str]:
    wrapper = config.get("model_wrapper_cfg")
    if wrapper and wrapper.get("type") != "Replicated":
        yield (
            f"model_wrapper_cfg: {wrapper.get('type')} would train the first pass of a method "
            "only; leave model_wrapper_cfg out, several processes are wrapped in Replicated."
        )
    if config.get("sync_bn"):
        yield (
            f"sync_bn={config['sync_bn']!r}: mmengine would replace timm's BatchNorm layers and "
            "lose the activation in them; set model.sync_batch_norm=True instead."
        )


def _pipelines(config: Mapping[str, Any]) -> Iterator[str]:
    """Items without label or tensor would fail in the first batch, or the first validation."""
    for name, dataset in _training_sets(config):
        place = f"train_dataloader.dataset.{name}"
        yield from _steps(place, dataset, labelled=name.startswith("source"))
    validation = config.get("val_dataloader")
    if validation and config.get("val_evaluator"):
        dataset = validation.get("dataset") or {}
        yield from _steps("val_dataloader.dataset", dataset, labelled=_has_labels(dataset))


def _has_labels(dataset: Mapping[str, Any]) -> bool:
    """Whether a validation set has labels, or was meant to: nothing of it says that it has none."""
    names = [_type_name(step) for step in dataset.get("pipeline") or ()]
    own = dataset.get("type") in _OWN_DATASETS
    return not own or bool(dataset.get("label_dir")) or any(n in _LABEL_LOADERS for n in names)


def _best(config: Mapping[str, Any]) -> Iterator[str]:
    """A best checkpoint by a score that no validation gives would be an error after hours."""
    wanted = _part(_part(config, "default_hooks"), "checkpoint").get("save_best")
    if not isinstance(wanted, str):
        return
    place = f"default_hooks.checkpoint.save_best={wanted!r}"
    try:
        direction(wanted)
    except ValueError as error:
        yield f"default_hooks: {error}"
        return
    validation = _part(config, "val_dataloader")
    if not validation or not config.get("val_evaluator"):
        yield f"{place} needs a validation: set val_dataloader, val_evaluator and val_cfg."
    elif needs_labels(wanted) and not _has_labels(_part(validation, "dataset")):
        yield (
            f"{place} needs labels, and val_dataloader.dataset has none; without any, choose by "
            f"one of {', '.join(label_free_names())}."
        )


def _steps(place: str, dataset: Mapping[str, Any], *, labelled: bool) -> Iterator[str]:
    if dataset.get("type") not in _OWN_DATASETS:
        return
    names = [_type_name(step) for step in dataset.get("pipeline") or ()]
    if labelled and dataset.get("label_dir") is None:
        yield f"{place} has no label_dir: {_NEEDS[place.partition('_')[0]]}."
    elif labelled and not any(name in _LABEL_LOADERS for name in names):
        yield f"{place}.pipeline reads no label: put dict(type='LoadLabel') after LoadImage."
    if not names or not names[-1].startswith("Pack"):
        yield f"{place}.pipeline has to end with dict(type='PackSegInputs')."


def _crops(config: Mapping[str, Any]) -> Iterator[str]:
    size = _part(_part(config, "model"), "data_preprocessor").get("size")
    if size is None:
        return
    for name, dataset in _training_sets(config):
        for step in dataset.get("pipeline") or ():
            crop = step.get("crop_size") if _type_name(step) == "RandomCrop" else None
            if crop is None:
                continue
            height, width = (crop, crop) if isinstance(crop, int) else crop
            if height > size[0] or width > size[1]:
                yield (
                    f"train_dataloader.dataset.{name}: crop_size={(height, width)} is larger than "
                    f"model.data_preprocessor.size={tuple(size)}; set both to the same (height, "
                    "width)."
                )


def _margins(config: Mapping[str, Any]) -> Iterator[str]:
    """Rows of the crop beside margins of the image would take pseudo-labels away at random."""
    method = _part(_part(config, "model"), "method")
    marked = any(
        _type_name(step) == "PseudoLabelMargins"
        for _, dataset in _training_sets(config)
        for step in dataset.get("pipeline") or ()
    )
    for key in ("primary", "secondary", None):
        selector = _part(method if key is None else _part(method, key), "selector")
        rows = selector.get("ignore_rows") or (0, 0)
        if marked and isinstance(rows, Sequence) and any(rows):
            yield (
                f"model.method.{f'{key}.' if key else ''}selector: ignore_rows={tuple(rows)} are "
                "rows of the crop, and PseudoLabelMargins marks the same border on the image: "
                "remove ignore_rows."
            )


def _part(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Settings under a key; none where something else stands there, which is told elsewhere."""
    given = settings.get(key)
    return given if isinstance(given, Mapping) else {}


def _training_sets(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    pairs = _part(_part(config, "train_dataloader"), "dataset")
    for name in ("source", "target"):
        given = pairs.get(name)
        if isinstance(given, Mapping):
            yield name, given
        elif isinstance(given, (list, tuple)):
            yield from (
                (f"{name}[{number}]", one)
                for number, one in enumerate(given)
                if isinstance(one, Mapping)
            )


def _type_name(step: Mapping[str, Any] | Sequence[Any]) -> str:
    kind = step.get("type") if isinstance(step, Mapping) else None
    return kind if isinstance(kind, str) else getattr(kind, "__name__", "")
