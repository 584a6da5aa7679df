"""From the command line to a checked configuration: every mistake is one line, before any work.

Read in this order: ``entry`` (what every command does), ``compose``, ``resolvers``, ``checks``,
``building``; ``wording`` says what is wrong.
"""

from pixelcnn_lit.configuration.building import build, read_options
from pixelcnn_lit.configuration.checks import check
from pixelcnn_lit.configuration.compose import CONF_DIR, compose_config
from pixelcnn_lit.configuration.entry import INTERRUPTED, end_with_error, run
from pixelcnn_lit.configuration.resolvers import RUN_DIR_VARIABLE

__all__ = [
    "CONF_DIR",
    "INTERRUPTED",
    "RUN_DIR_VARIABLE",
    "build",
    "check",
    "compose_config",
    "end_with_error",
    "read_options",
    "run",
]
