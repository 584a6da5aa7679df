"""A CUDA graph played on the CPU: operations recorded with the memory they work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pixelcnn_lit.sampling.graphs import AbstractDevice, Work

WAITING = (
    "_local_scalar_dense",  # tensor.item(), float(tensor), if tensor
    "equal",
    "is_nonzero",
    "item",
    "lift_fresh",  # torch.tensor([…]), which a GPU must have copied from the host
    "masked_select",
    "nonzero",  # also x[mask]
    "unique",
)
"""Operations for which a GPU would stop the host; CUDA refuses to record them."""


class Tape(TorchDispatchMode):
    """Records operations while they happen, then undoes what they did to memory from before.

    Every tensor stays alive and stays where it is, so that playing the tape does what a graph
    does: the same operations on the same memory, whatever the program's variables say by then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__.partition(".")[0] in WAITING:
            raise RuntimeError(f"{func.__name__} cannot be recorded")
        inputs = tensors((args, kwargs))
        if func._schema.is_mutable:
            for tensor in inputs:
                self._remember(tensor)
        result = func(*args, **kwargs)
        known = {address(tensor) for tensor in inputs}
        made = [tensor for tensor in tensors(result) if address(tensor) not in known]
        self._own.update(address(tensor) for tensor in made)
        self._operations.append((func, args, kwargs, made))
        return result

    def undo(self) -> None:
        """Give the memory from before the recording its old content back."""
        for tensor, content in self._before.values():
            tensor.untyped_storage().copy_(content.untyped_storage())

    def play(self) -> None:
        """Do every operation again; what made a new tensor writes into that one."""
        for func, args, kwargs, made in self._operations:
            result = func(*args, **kwargs)
            for tensor, again in zip(made, tensors(result) if made else [], strict=True):
                tensor.copy_(again)

    def _remember(self, tensor: Tensor) -> None:
        if address(tensor) not in self._own | self._before.keys():
            whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
            self._before[address(tensor)] = (tensor, whole.clone())


def tensors(tree: object) -> list[Tensor]:
    """All tensors within arguments or results."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def address(tensor: Tensor) -> int:
    """Where the tensor's memory begins."""
    return tensor.untyped_storage().data_ptr()


class TapeDevice(AbstractDevice):
    """Records on tapes.

    Attributes:
        num_warm_ups: how often work was done to be recorded later.
        num_recorded: how many tapes there are.
        num_played: how often one was played.
    """

    def __init__(self) -> None:
        self.num_warm_ups = self.num_recorded = self.num_played = 0

    def warm_up(self, work: Work) -> None:
        """Do it."""
        self.num_warm_ups += 1
        work()

    def record(self, work: Work) -> Work:
        """Do it, undo it, and know what was done."""
        tape = Tape()
        try:
            with tape:
                work()
        finally:
            tape.undo()
        self.num_recorded += 1

        def play() -> None:
            self.num_played += 1
            tape.play()

        return play
