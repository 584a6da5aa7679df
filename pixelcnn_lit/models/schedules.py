"""Learning-rate schedules: factors of the optimizer's learning rate, one per step."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pixelcnn_lit.messages import check_at_least


def exponential(
    optimizer: Optimizer, decay: float = 0.999995, num_warmup_steps: int = 0
) -> LambdaLR:
    """The factor decay^step after an optional warm-up: the schedule of Salimans et al. (2017, §3).

    Args:
        optimizer: whose learning rate is scaled.
        decay: factor per step, in (0, 1]; 1 keeps the learning rate constant.
        num_warmup_steps: steps over which the factor rises linearly to 1 first.

    Raises:
        ValueError: if ``decay`` or ``num_warmup_steps`` is out of range.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay}: must lie in (0, 1]")
    return LambdaLR(optimizer, lambda step: _warmup(step, num_warmup_steps) * decay**step)


def cosine(
    optimizer: Optimizer, num_steps: int, num_warmup_steps: int = 0, final_factor: float = 0.0
) -> LambdaLR:
    """Half a cosine from 1 to ``final_factor`` at ``num_steps``, after an optional warm-up.

    Args:
        optimizer: whose learning rate is scaled.
        num_steps: the step at which the cosine ends; constant from there on.
        num_warmup_steps: steps over which the factor rises linearly to 1 first; part of
            ``num_steps``.
        final_factor: what is left of the learning rate at the end, in [0, 1].

    Raises:
        ValueError: if ``num_steps`` is not larger than ``num_warmup_steps``, or an argument out of
            range.
    """
    if num_steps <= num_warmup_steps:
        raise ValueError(
            f"num_steps={num_steps}: must be larger than num_warmup_steps={num_warmup_steps};"
            " set trainer.max_steps, where the cosine ends"
        )
    if not 0 <= final_factor <= 1:
        raise ValueError(f"final_factor={final_factor}: must lie in [0, 1]")

    def factor(step: int) -> float:
        progress = (step - num_warmup_steps) / (num_steps - num_warmup_steps)
        cosine_factor = (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
        return _warmup(step, num_warmup_steps) * (final_factor + (1 - final_factor) * cosine_factor)

    return LambdaLR(optimizer, factor)


def _warmup(step: int, num_warmup_steps: int) -> float:
    """A linear rise from 1/num_warmup_steps at step 0 to 1 at the end of the warm-up."""
    check_at_least("num_warmup_steps", num_warmup_steps, 0)
    return min(1.0, (step + 1) / num_warmup_steps) if num_warmup_steps else 1.0
