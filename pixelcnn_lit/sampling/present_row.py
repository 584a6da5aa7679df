"""The present row of something larger, always in the same place."""

from __future__ import annotations

from torch import Tensor


class PresentRow:
    """A copy of one row at a fixed address, where recorded work finds every row in its turn.

    Attributes:
        here: (B, …), contiguous; what it holds before the first :meth:`read` is undefined.
    """

    def __init__(self, whole: Tensor) -> None:
        """``whole`` is (B, H, …)."""
        self._whole = whole
        self.here = whole.new_empty(whole[:, 0].shape)

    def read(self, row: int) -> None:
        """Put a row in place."""
        self.here.copy_(self._whole[:, row])
