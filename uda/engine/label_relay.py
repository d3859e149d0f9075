"""Several processes that label one set together, and end with what one process would have."""

from __future__ import annotations

from typing import Any

import torch.distributed


class Relay:
    """The order in which processes take turns, and what one hands to the next.

    Prediction takes almost all of the time and needs nothing of other images; selection is quick,
    but its running thresholds depend on every batch before. So each process predicts batches of its
    own, at the same time as the others; then it waits for the state that its predecessor ends with,
    selects by it, and hands it on. That is the one sequence of updates which a single process goes
    through, with any number of processes.

    Process 0 takes the last turn of each cycle: with its turn it knows all that was done in it, and
    notes it. What is handed on is small, a few numbers for each class and image, and goes by gloo,
    also between machines and beside NCCL.

    Attributes:
        rank: This process.
        size: How many there are; 1 without a process group, where nothing is exchanged.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self.rank, self.size = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self.rank = torch.distributed.get_rank()
            self.size = torch.distributed.get_world_size()
        if self.size > 1:
            self._group = torch.distributed.new_group(backend="gloo")

    @property
    def turn(self) -> int:
        """The first turn of this process; the others follow `size` apart. Process 0 comes last."""
        return (self.rank - 1) % self.size

    @property
    def keeps(self) -> bool:
        """Whether this process notes what was done, and tells of it."""
        return self.rank == 0

    def of(self, turn: int) -> int:
        """The process that has turn number `turn`."""
        return (turn + 1) % self.size

    def receive(self, process: int) -> Any:
        """What another process hands on to this one."""
        content: list[Any] = [None]
        torch.distributed.recv_object_list(content, process, group=self._group)
        return content[0]

    def hand_on(self, content: Any, process: int) -> None:
        """Give `content` to another process, once that is there to take it."""
        torch.distributed.send_object_list([content], process, group=self._group)

    def from_keeper(self, content: Any) -> Any:
        """What process 0 has as `content`, in every process."""
        if self.size == 1:
            return content
        shared = [content]
        torch.distributed.broadcast_object_list(shared, 0, group=self._group)
        return shared[0]

    def wait_for_all(self) -> None:
        """Return once all processes have come here."""
        if self.size > 1:
            torch.distributed.barrier(group=self._group)
