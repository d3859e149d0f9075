"""Which check runs on which file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.parity import vfm_models, vfm_networks, vfm_training
from tests.parity.daformer_iterations import check_uda_iter
from tests.parity.daformer_masks import check_mic_iter, check_mic_mask
from tests.parity.daformer_network import check_mit_daformer
from tests.parity.daformer_optimisation import check_ema, check_lr
from tests.parity.daformer_parts import check_classmix, check_fd, check_strong_aug
from tests.parity.daformer_sampling import check_rcs, check_rcs_real
from tests.parity.dts import check_dual
from tests.parity.fst import check_look_ahead, check_unsupervised_loss
from tests.parity.hiast_labels import check_copy_paste, check_ias
from tests.parity.hiast_losses import check_adversarial, check_losses
from tests.parity.hiast_optimisation import check_ema_lr_metric
from tests.parity.hrda import check_hrda
from tests.parity.rows import Row
from tests.parity.transport import check_semi_relaxed_ot
from tests.parity.tta_consistency import check_cotta, check_vida, check_vida_adapter
from tests.parity.tta_entropy import check_deyo, check_eata, check_sar, check_tent
from tests.parity.tta_parts import check_bn, check_lame, check_rotta
from tests.parity.tta_self_learning import check_self_learning

Check = Callable[[Path], list[Row]]


@dataclass(frozen=True)
class Family:
    """The checks of one group of published methods.

    Attributes:
        checks: By the part of the file name before the tag: `fd` checks `fd_a.npz`.
        waiting: Parts of names whose files wait for the named issue.
        pattern: Which files of a folder are recordings.
    """

    checks: Mapping[str, Check]
    waiting: Mapping[str, str] = field(default_factory=dict)
    pattern: str = "*.npz"

    def check(self, name: str) -> Check | None:
        """The check of a file name, or None."""
        kind = _kind(name, self.checks)
        return None if kind is None else self.checks[kind]

    def not_built(self, name: str) -> str | None:
        """The issue a file name waits for, or None."""
        kind = _kind(name, self.waiting)
        return None if kind is None else self.waiting[kind]

    def known(self) -> list[str]:
        """All kinds of names that some check handles."""
        return [f"{kind}_*" for kind in sorted(self.checks)]


def _kind(name: str, kinds: Mapping[str, object]) -> str | None:
    """The longest kind with which a name starts, followed by a tag, or that it is."""
    return max(
        (kind for kind in kinds if name.startswith(f"{kind}_") or name.partition(".")[0] == kind),
        key=len,
        default=None,
    )


FAMILIES: dict[str, Family] = {
    "daformer": Family(
        checks={
            "classmix": check_classmix,
            "ema": check_ema,
            "fd": check_fd,
            "hrda": check_hrda,
            "lr": check_lr,
            "mic_iter": check_mic_iter,
            "mic_mask": check_mic_mask,
            "mit_daformer": check_mit_daformer,
            "rcs": check_rcs,
            "strong_aug": check_strong_aug,
            "uda_iter": check_uda_iter,
        },
    ),
    "dts": Family(checks={"dts": check_dual}),
    "fst": Family(
        checks={
            "derived": check_look_ahead,
            "fst_d": check_look_ahead,
            "fst_w": check_look_ahead,
            "ssl_unsup_loss": check_unsupervised_loss,
        },
    ),
    "hiast": Family(
        checks={
            "adversarial": check_adversarial,
            "copy_paste": check_copy_paste,
            "ema_lr": check_ema_lr_metric,
            "ias": check_ias,
            "losses": check_losses,
            "semi_relaxed": check_semi_relaxed_ot,
        },
    ),
    "rcs_real": Family(checks={"expected": check_rcs_real}, pattern="expected*.json"),
    "tta": Family(
        checks={
            "bn_adapt": check_bn,
            "cotta": check_cotta,
            "deyo": check_deyo,
            "eata": check_eata,
            "eta": check_eata,
            "lame": check_lame,
            "rotta_parts": check_rotta,
            "sar": check_sar,
            "sl": check_self_learning,
            "tent": check_tent,
            "vida": check_vida,
            "vida_adapter_linear": check_vida_adapter,
        },
    ),
    "vfm": Family(
        checks={**vfm_models.CHECKS, **vfm_networks.CHECKS, **vfm_training.CHECKS},
    ),
}
