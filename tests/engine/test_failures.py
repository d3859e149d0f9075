"""What a failed run says."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from uda.engine import failures
from uda.engine.failures import explained, one_sentence


class Failing(Dataset[int]):
    """A data set that does not find its file."""

    def __len__(self) -> int:
        """One item."""
        return 1

    def __getitem__(self, index: int) -> int:
        """Fail."""
        raise FileNotFoundError(f"There is no label {index}: make it.")


def test_error_of_a_loader_process_is_one_sentence() -> None:
    with pytest.raises(FileNotFoundError) as error:
        next(iter(DataLoader(Failing(), num_workers=1)))
    assert "Traceback" in str(error.value)
    assert one_sentence(error.value) == "There is no label 0: make it."
    assert explained(error.value) == "error: There is no label 0: make it."
    assert one_sentence(ValueError("Plain: as it is.")) == "Plain: as it is."


def test_memory_values() -> None:
    """A GPU's, and a CPU's, which torch raises as any RuntimeError; what to do is named."""
    advice = (
        "In training: model.micro_batches=2, a smaller train_dataloader.batch_size or crop, or "
        "--amp bf16; where a network only predicts: a smaller batch, sliding windows or smaller "
        "images."
    )
    error: RuntimeError = torch.OutOfMemoryError("CUDA out of memory. Tried 20 GiB.\nMore.")
    wanted = f"error: there is not enough memory (CUDA out of memory. Tried 20 GiB.). {advice}"
    assert explained(error) == wanted
    with pytest.raises(RuntimeError) as host:
        torch.empty(2**50)
    told = explained(host.value)
    assert told is not None
    assert told.startswith("error: there is not enough memory (")
    assert told.endswith(advice)


@pytest.mark.parametrize(
    "library",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported later.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_of_libraries_values(library: str) -> None:
    """Plain RuntimeErrors, of which the first line is told."""
    told = explained(RuntimeError(library))
    assert told is not None
    assert told.startswith(
        f"error: there is not enough memory ({library.splitlines()[0]}). In training: "
    )
    assert "\n" not in told


def test_gpu_values() -> None:
    """One that is not there for this process, and one that this torch is not made for."""
    for cause in (
        "No CUDA GPUs are available",
        "CUDA error: no kernel image is available for execution on the device\nMore.",
        "The NVIDIA driver on your system is too old (found version 1).",
    ):
        assert explained(RuntimeError(cause)) == (
            f"error: the GPU cannot be used ({cause.splitlines()[0]}). Look at nvidia-smi and at "
            "CUDA_VISIBLE_DEVICES, or install a torch that fits the card and its driver; with "
            'CUDA_VISIBLE_DEVICES="" the run takes the CPU.'
        )


class Killed(Dataset[int]):
    """A data set whose reading ends its process, as a system short of memory does."""

    def __len__(self) -> int:
        """One item."""
        return 1

    def __getitem__(self, index: int) -> int:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_killed_loader_process_values() -> None:
    """A real one, by torch's own error."""
    with pytest.raises(RuntimeError, match="DataLoader worker") as error:
        next(iter(DataLoader(Killed(), num_workers=1)))
    told = explained(error.value)
    assert told is not None
    assert told.startswith("error: a process that reads images has gone (DataLoader worker (pid")
    assert told.endswith(
        "), most often because memory or shared memory (/dev/shm) is used up. Set "
        "train_dataloader.num_workers and val_dataloader.num_workers lower (0: no such process), "
        "or ask for more memory."
    )
    assert explained(RuntimeError("The helper exited unexpectedly")) is None


def test_other_process_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which process speaks, and that the cause lies in another one."""
    monkeypatch.setattr(failures, "get_world_size", lambda: 4)
    monkeypatch.setattr(failures, "get_rank", lambda: 2)
    error = RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:6292.")
    assert explained(error) == (
        "error in process 2 of 4: another process of this run has failed; its own message says why."
    )
    assert explained(ValueError("No.")) == "error in process 2 of 4: No."


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("shapes differ"), IndexError()])
def test_faults_of_the_program_keep_their_traceback(error: Exception) -> None:
    assert explained(error) is None
