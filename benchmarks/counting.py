"""What a computation reads and writes: a measure of its cost without noise.

    with Counting() as counted:
        train_step(model, optimizer, images)
    counted.other_bytes / len(images)

Every operation that PyTorch dispatches is counted with the bytes of its inputs and outputs; a view
moves nothing and is none; an allocation counts as an output, as if it were written. Convolutions
and matrix products stand apart: they are bound by arithmetic, and the rest by memory.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MATRIX_PRODUCTS = {"mm", "addmm", "addmm_", "bmm", "baddbmm", "linear", "linear_backward"}
ALIASES = {"detach", "alias", "_reshape_alias", "_unsafe_view"}


def is_convolution(name: str) -> bool:
    """Whether an operation, by its name without ``aten::``, is a convolution or matrix product."""
    return "conv" in name or name in MATRIX_PRODUCTS


class Counting(TorchDispatchMode):
    """Counts the operations of a block, and the memory that its tensors hold.

    What is written in place counts as read and written, an ``out`` only as written. Memory is that
    of the tensors' storages; what an operation takes for itself while it runs is not seen.

    Args:
        resident: tensors that are there before and stay, to be counted into the peak.

    Attributes:
        convolution_bytes: read and written by convolutions and matrix products.
        other_bytes: by all other operations.
        num_operations: how many there were of both.
        peak_bytes: the most that was held at any time in tensors that an operation has touched.
        held_bytes: what they hold now.
        bytes_of: by the name of the operation.
    """

    def __init__(self, resident: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.convolution_bytes = 0
        self.other_bytes = 0
        self.num_operations = 0
        self.peak_bytes = 0
        self.bytes_of: Counter[str] = Counter()
        self.held_bytes = 0
        self._held: dict[int, weakref.ref] = {}
        for tensor in resident:
            self._hold(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run the operation and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        for tensor in _tensors([args, kwargs, result]):
            self._hold(tensor)
        name = func._schema.name.split("::")[1]
        if func.is_view or name in ALIASES:
            return result
        written = {a.name for a in func._schema.arguments if a.is_out}
        inputs = [args, {key: value for key, value in kwargs.items() if key not in written}]
        num_bytes = _num_bytes(inputs) + _num_bytes(_outputs(func, args, result))
        self.num_operations += 1
        self.bytes_of[name] += num_bytes
        if is_convolution(name):
            self.convolution_bytes += num_bytes
        else:
            self.other_bytes += num_bytes
        return result

    def _hold(self, tensor: Tensor) -> None:
        """Count the storage until it goes."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return

        def let_go(_: object) -> None:
            del self._held[key]
            self.held_bytes -= size

        self._held[key] = weakref.ref(storage, let_go)
        self.held_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)


def _outputs(func: Any, args: tuple, result: object) -> object:
    """What the operation writes: its result, or its arguments where it returns nothing."""
    if _tensors(result):
        return result
    changes = [a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments]
    return [value for value, changed in zip(args, changes, strict=False) if changed]


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _num_bytes(tree: object) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(tree))
