"""The teacher: an exponential moving average of the student."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uda import watching
from uda.structures import NetworkOutput, as_output

Buffers = Literal["own", "copy", "ema"]
Mode = Literal["train", "eval"]


class EMATeacher(nn.Module):
    """A copy of the student whose weights follow it slowly; it makes the pseudo-labels.

    Update t = 0 copies the student; update t >= 1 is `phi <- a phi + (1 - a) theta` with
    `a = min(1 - 1/(t + 1), decay)`, so that update 1 uses 0.5 (Tarvainen and Valpola, 2017; DACS;
    DAFormer, `dacs.py`). The number of updates is saved with the weights: a resumed run goes on
    where it stopped, while the released code starts its ramp again.

    Args:
        student: The network to follow; it is copied.
        decay: Share of the old teacher kept, the ceiling of `a`, in [0, 1].
        warmup: Raise `a` from 0 as above; False uses `decay` from update 1 on.
        buffers: What happens to buffers such as BatchNorm's running statistics. `"own"`: the
            teacher keeps its own (reference). `"copy"`: copied from the student. `"ema"`:
            averaged like the parameters; integer buffers are copied.
        mode: `"train"` (reference): BatchNorm uses the statistics of the batch and updates the
            running ones; Dropout and DropPath are off either way. `"eval"`: running statistics.
        flip_average: Predict the mean of the probabilities of the image and of its mirror image,
            turned back (VFM-UDA++, released code); costs a second pass.
        share_frozen: Hold parameters that are frozen in the student now, such as those of a tuned
            encoder, once for both; they have to stay frozen. The average runs over the others.

    Raises:
        ValueError: An argument is outside its range.

    >>> student = nn.Conv2d(3, 2, 1)
    >>> teacher = EMATeacher(student, decay=0.99)
    >>> round(teacher.predict(torch.zeros(1, 3, 4, 4)).sum(1).mean().item(), 3)
    1.0
    """

    iteration: Tensor

    def __init__(
        self,
        student: nn.Module,
        *,
        decay: float = 0.999,
        warmup: bool = True,
        buffers: Buffers = "own",
        mode: Mode = "train",
        flip_average: bool = False,
        share_frozen: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay has to lie in [0, 1] (0.999 keeps 99.9 %), not {decay}.")
        if buffers not in ("own", "copy", "ema"):
            raise ValueError(f'buffers has to be "own", "copy" or "ema", not {buffers!r}.')
        if mode not in ("train", "eval"):
            raise ValueError(f'mode has to be "train" or "eval", not {mode!r}.')
        self.decay, self.warmup, self.buffers_mode, self.mode = decay, warmup, buffers, mode
        self.flip_average, self.share_frozen = flip_average, share_frozen
        frozen = [p for p in student.parameters() if share_frozen and not p.requires_grad]
        shared = {id(p): p for p in frozen}
        self.network = copy.deepcopy(student, shared).requires_grad_(False)
        # Averages of networks beside the student, and the networks themselves, which others hold.
        self.heads = nn.ModuleDict()
        self._followed: dict[str, tuple[nn.Module]] = {}
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        # The same number on the host, so that no update has to wait for the device.
        self._iteration: int | None = 0
        self.train()

    def decay_at(self, iteration: int) -> float:
        """The share of the old teacher that update number `iteration` keeps."""
        if iteration == 0:
            return 0.0
        return min(1 - 1 / (iteration + 1), self.decay) if self.warmup else self.decay

    @property
    def updates(self) -> int:
        """The number of updates counted so far, on the host; 0 before the first."""
        if self._iteration is None:
            self._iteration = int(self.iteration)
        return self._iteration

    def update(self, student: nn.Module) -> None:
        """Move the teacher towards `student`, a network of the same architecture, and count."""
        self.follow(student)
        self.count()

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Move the teacher as `update` would, without counting the update."""
        with watching.phase("ema"):
            self._follow(student)

    def _follow(self, student: nn.Module) -> None:
        updates = self.updates
        share = 1 - self.decay_at(updates)
        own: list[Tensor] = []
        others: list[Tensor] = []
        for mine, theirs in self._pairs(student):
            pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
            apart = [pair for pair in pairs if pair[0] is not pair[1]]
            own += [pair[0] for pair in apart]
            others += [pair[1] for pair in apart]
        if updates == 0:
            torch._foreach_copy_(own, others)
        else:
            torch._foreach_lerp_(own, others, share)
        self._update_buffers(student, share)

    def count(self) -> None:
        """Count an update: the next one uses the following value of the ramp."""
        self._iteration = self.updates + 1
        self.iteration += 1

    @torch.no_grad()
    def copy_from(self, student: nn.Module) -> None:
        """Take over the student whole, buffers included, as before the first update."""
        for mine, theirs in self._pairs(student):
            mine.load_state_dict(theirs.state_dict())

    def add_head(self, name: str, head: nn.Module) -> None:
        """Average a network that learns beside the student too, as `heads[name]`.

        It follows `head` whenever the teacher follows the student, at the same rate, and is saved
        with the teacher.

        Args:
            name: Key in `heads`.
            head: The network to follow; it stays where it is and is not saved here.

        Raises:
            ValueError: There is a head of that name.
        """
        if name in self.heads:
            raise ValueError(
                f"The teacher already averages a head {name!r}; give the second term a class with "
                "another `name`."
            )
        self.heads[name] = copy.deepcopy(head).requires_grad_(False)
        self._followed[name] = (head,)
        self.train()

    def _pairs(self, student: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Each network of the teacher with the one it follows."""
        heads = ((self.heads[name], head) for name, (head,) in self._followed.items())
        return chain([(self.network, student)], heads)

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """The class probabilities (N, K, H, W) of `image` (N, 3, H, W); builds no graph."""
        with watching.phase("teacher"):
            probs = self._probs(image)
            if self.flip_average:
                probs = (probs + self._probs(image.flip(-1)).flip(-1)) / 2
        return probs

    def _probs(self, image: Tensor) -> Tensor:
        probs: Tensor = self.output(image).logits.float().softmax(1)
        return probs

    @torch.no_grad()
    def output(self, image: Tensor) -> NetworkOutput:
        """What the network returns for `image` (N, 3, H, W), features included; builds no graph."""
        with watching.phase("teacher"):
            return as_output(self.network(image))

    def train(self, mode: bool = True) -> EMATeacher:
        """Keep the teacher's own mode, whatever the student is set to.

        While training it runs in `self.mode` with Dropout and DropPath off; with `mode=False`
        everything is in evaluation mode.
        """
        super().train(False)
        if mode and self.mode == "train":
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.train()
        return self

    def _update_buffers(self, student: nn.Module, share: float) -> None:
        if self.buffers_mode == "own":
            return
        for mine, theirs in self._pairs(student):
            for own, other in zip(mine.buffers(), theirs.buffers(), strict=True):
                if self.buffers_mode == "ema" and own.is_floating_point():
                    own.lerp_(other, share)
                else:
                    own.copy_(other)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._iteration = None  # read from the buffer at the next update
