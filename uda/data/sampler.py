"""The sampler of `SourceTargetPairs`: draw numbers without end."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


@DATA_SAMPLERS.register_module()
class DrawSampler(Sampler[tuple[int, int]]):
    """Pairs (seed, draw number) without end; process r of w takes draws r, r + w, r + 2w, ...

    What a draw contains is decided by the data set from the pair alone, so results do not depend on
    the number of loader workers, and two processes with batch b see together exactly the draws of
    one process with batch 2b.

    Args:
        dataset: Only its length is passed on by `len()`; mmengine hands it over.
        seed: Seed of the run, which mmengine hands over; None takes one all processes share.
        start: Draws of this process that are skipped at the beginning.
        rank: Number of this process; None asks the process group.
        world_size: Number of processes; None asks the process group.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> from itertools import islice
        >>> list(islice(DrawSampler(range(4), seed=7, rank=1, world_size=2), 3))
        [(7, 1), (7, 3), (7, 5)]
    """

    def __init__(
        self,
        dataset: Sized,
        seed: int | None = None,
        *,
        start: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        own_rank, own_world_size = get_dist_info()
        self.rank = own_rank if rank is None else rank
        self.world_size = own_world_size if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"DrawSampler: rank must be in 0..{self.world_size - 1} for world_size="
                f"{self.world_size}, got {self.rank}"
            )
        self.seed = int(sync_random_seed() if seed is None else seed)
        if self.seed < 0:
            raise ValueError(f"DrawSampler: seed must be at least 0, got {self.seed}")
        self.dataset = dataset
        self.skip(start)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (seed, draw) from the start position on."""
        draw = self.rank + self.start * self.world_size
        while True:
            yield self.seed, draw
            draw += self.world_size

    def __len__(self) -> int:
        """Length of the data set (an epoch of the source), not the number of draws."""
        return len(self.dataset)

    def skip(self, num_samples: int) -> None:
        """Begin the next iteration over the sampler after `num_samples` draws of this process.

        Counted from the first draw, not from the present position: a resumed run passes
        iterations done x batch size. mmengine's loop does so by itself, unless
        `train_cfg.fast_forward_on_resume=True`, which the check of configs refuses.

        Raises:
            ValueError: The number is negative.
        """
        if num_samples < 0:
            raise ValueError(f"DrawSampler: cannot skip {num_samples} draws; give 0 or more")
        self.start = int(num_samples)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: draws are numbered through, there are no epochs to tell apart."""
