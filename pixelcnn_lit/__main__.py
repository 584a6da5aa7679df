"""`pixelcnn-lit COMMAND key=value …`, the same as `python -m pixelcnn_lit COMMAND key=value …`."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "train": "train a model",
    "evaluate": "measure a checkpoint: exact bits/dim over a split",
    "sample": "draw, complete and interpolate images",
    "reconstruct": "what two autoencoders keep of test images, side by side",
    "receptive_field": "which pixels a pixel sees, as a picture",
    "sweep": "many runs that differ in a few options, ranked",
}


def main() -> None:
    """Runs a command; without one, lists them."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name not in COMMANDS:
        width = max(map(len, COMMANDS))
        lines = [f"  {command:{width}}  {what}" for command, what in COMMANDS.items()]
        usage = "\n".join(["usage: pixelcnn-lit COMMAND key=value …", "", *lines])
        if name in (None, "-h", "--help"):
            print(usage)
            return
        print(f"error: {name}: no such command\n{usage}", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"pixelcnn_lit.commands.{name}").main()


if __name__ == "__main__":
    main()
