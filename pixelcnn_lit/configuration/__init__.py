"""From the command line to a checked configuration: every mistake is one line, before any work.

Read in this order: ``entry`` (what every command does), ``command_line``, ``compose``,
``resolvers``, ``checks``, ``building``; ``wording`` says what is wrong, ``help_page`` what there
is.
"""

from pixelcnn_lit.configuration.building import build, read_options
from pixelcnn_lit.configuration.checks import check
from pixelcnn_lit.configuration.command_line import Parser
from pixelcnn_lit.configuration.compose import CONF_DIR, SWEEPS_DIR, compose_config
from pixelcnn_lit.configuration.entry import INTERRUPTED, Command, end_with_error, run
from pixelcnn_lit.configuration.resolvers import RUN_DIR_VARIABLE
