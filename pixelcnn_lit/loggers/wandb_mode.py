"""W&B mode: online, offline or disabled, as the environment and the login say."""

from __future__ import annotations

import os
from typing import Literal

import wandb

from pixelcnn_lit.messages import OptionError, one_line, say

Mode = Literal["online", "offline", "disabled"]


def choose_mode() -> Mode:
    """WANDB_MODE if set; else online if logged in; else offline.

    Raises:
        OptionError: if WANDB_MODE is none of W&B's modes.
    """
    mode = os.environ.get("WANDB_MODE", "")
    mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)  # W&B's old names
    if mode in ("online", "offline", "disabled"):
        return mode
    if mode:
        raise OptionError(f"WANDB_MODE={mode}: must be online, offline or disabled")
    try:
        if logged_in():
            return "online"
    except ValueError as error:
        say(f"{error}; kept offline (WANDB_MODE=disabled for none)")
        return "offline"
    say("W&B: not logged in, kept offline (`wandb login`; WANDB_MODE=disabled for none)")
    return "offline"


def logged_in() -> bool:
    """Whether there is a key for W&B's server; the server is not asked if it is right.

    Raises:
        OptionError: if what is there cannot be a key.
    """
    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise OptionError(f"W&B: {one_line(error)}") from error
