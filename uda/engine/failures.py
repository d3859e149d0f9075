"""What a failed run says: one sentence for whatever its user can do something about."""

from __future__ import annotations

import torch
from mmengine.dist import get_rank, get_world_size

# Errors whose text is written for the user; others are faults of the program and keep a traceback.
_TOLD = (OSError, TypeError, ValueError, FloatingPointError)
# How gloo and NCCL begin or end when a process at the other side has gone.
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was")
# Of torch on a CPU and a GPU, and of its libraries where they cannot get theirs.
_NO_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
# A GPU is there but not for this process, or too old or new for this torch.
_NO_GPU = ("No CUDA GPUs are available", "no kernel image is available", "NVIDIA driver")
# torch's words for a loader process that the system ended, most often for lack of memory.
_READER_GONE = ("is killed by signal", "exited unexpectedly")


def explained(error: BaseException) -> str | None:
    """The sentence for an error that ended a run; None if it needs a traceback.

    >>> explained(ValueError("decay has to lie in [0, 1], not 2."))
    'error: decay has to lie in [0, 1], not 2.'
    >>> explained(KeyError("method")) is None
    True
    """
    told = one_sentence(error)
    if isinstance(error, torch.OutOfMemoryError) or _says(error, _NO_MEMORY):
        told = (
            f"there is not enough memory ({told.splitlines()[0]}). In training: "
            "model.micro_batches=2, a smaller train_dataloader.batch_size or crop, or --amp bf16; "
            "where a network only predicts: a smaller batch, sliding windows or smaller images."
        )
    elif _says(error, _NO_GPU):
        told = (
            f"the GPU cannot be used ({told.splitlines()[0]}). Look at nvidia-smi and at "
            "CUDA_VISIBLE_DEVICES, or install a torch that fits the card and its driver; with "
            'CUDA_VISIBLE_DEVICES="" the run takes the CPU.'
        )
    elif _says(error, _READER_GONE) and "DataLoader worker" in told:
        told = (
            f"a process that reads images has gone ({told.splitlines()[0]}), most often because "
            "memory or shared memory (/dev/shm) is used up. Set train_dataloader.num_workers and "
            "val_dataloader.num_workers lower (0: no such process), or ask for more memory."
        )
    elif _says(error, _PEER_GONE):
        told = "another process of this run has failed; its own message says why."
    elif not isinstance(error, _TOLD):
        return None
    where = f" in process {get_rank()} of {get_world_size()}" if get_world_size() > 1 else ""
    return f"error{where}: {told}"


def _says(error: BaseException, parts: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(part in str(error) for part in parts)


def one_sentence(error: BaseException) -> str:
    r"""What an error says, without the traceback that a loader's worker process puts before it.

    >>> told = "Caught ValueError in DataLoader worker process 0.\nTraceback ...\nValueError: No."
    >>> one_sentence(ValueError(told))
    'No.'
    """
    told = str(error).strip()
    if not (told.startswith("Caught ") and "in DataLoader worker" in told.partition("\n")[0]):
        return told
    last = told.splitlines()[-1]
    name, colon, sentence = last.partition(": ")
    return sentence if colon and name.replace(".", "").isidentifier() else last
