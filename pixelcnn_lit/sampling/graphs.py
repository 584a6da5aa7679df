"""CUDA graphs of a row's work: recorded once and replayed, or run as it is.

On a GPU a walk is bound by launching many small kernels. Rows on which the same levels of the
network are awake are the same kernels on the same memory (see
:class:`~pixelcnn_lit.layers.RasterCache`): a *kind* of row. The first row of a walk is run as it
is; after it the first of every kind is recorded, and from there on the kind is launched as a
whole.
"""

from __future__ import annotations

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

Work = Callable[[], None]
Runner = Callable[[int, Work], None]
"""Does the work of a row of a kind; for all rows of it it is the same work on the same memory."""


def eager(kind: int, work: Work) -> None:
    """The runner that does the work as it is."""
    work()


class AbstractDevice(ABC):
    """Something that can record work.

    Attributes:
        gave_up: a recording failed, so no other is tried, in this walk or a later one.
    """

    gave_up = False

    @abstractmethod
    def warm_up(self, work: Work) -> None:
        """Do the work such that :meth:`record` then needs to set up nothing."""

    @abstractmethod
    def record(self, work: Work) -> Work:
        """Record the work *without doing it*; what is returned does it.

        Raises:
            RuntimeError: if it cannot be recorded.
        """


class Recorder:
    """Runs the first row as it is, then records a row of every kind and replays it.

    The first row has every level of the network awake, so that it sets up all that others need.
    If a recording fails, nothing of that row has been done: it and all others of kinds that were
    not recorded before are run as they are, and the device records no more.
    """

    def __init__(self, device: AbstractDevice) -> None:
        self._device = device
        self._warm = False
        self._recorded: dict[int, Work] = {}

    def __call__(self, kind: int, work: Work) -> None:
        """As it is, or from a recording."""
        if not self._warm:
            self._device.warm_up(work)
            self._warm = True
            return
        if kind not in self._recorded and not self._device.gave_up:
            self._record(kind, work)
        self._recorded.get(kind, work)()

    def _record(self, kind: int, work: Work) -> None:
        try:
            self._recorded[kind] = self._device.record(work)
        except RuntimeError as error:
            self._device.gave_up = True
            reason = str(error).partition("\n")[0]
            warnings.warn(f"sampling without CUDA graphs, which is slower: {reason}", stacklevel=2)


class CudaDevice(AbstractDevice):
    """Records CUDA graphs, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, work: Work) -> None:
        """On the recording stream: libraries set themselves up once per stream."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """As a CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: the threads that load the data of a training allocate pinned memory, which
        # must not spoil the recording
        recording = torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local")
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.device(self._device):
            try:
                with recording:
                    work()
            finally:  # the end of a spoilt recording raises before it gives the stream back
                torch.cuda.set_stream(current)
        return graph.replay


@functools.cache
def cuda_device(device: torch.device) -> CudaDevice:
    """The one that all walks of this process record with: cuBLAS keeps memory for each stream."""
    return CudaDevice(device)


def runner(device: torch.device, *, recordable: bool) -> Runner:
    """What runs the rows of a walk on a device.

    Args:
        device: where the walk is.
        recordable: whether the rows do nothing that cannot be recorded.
    """
    if device.type == "cuda" and recordable and not cuda_device(device).gave_up:
        return Recorder(cuda_device(device))
    return eager
