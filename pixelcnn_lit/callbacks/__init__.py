"""Callbacks of a run: pictures, curves, averages, measurements, checkpoints and guards."""

from pixelcnn_lit.callbacks.average import AveragedWeights
from pixelcnn_lit.callbacks.checkpoints import Checkpoints
from pixelcnn_lit.callbacks.curve import LearningCurve
from pixelcnn_lit.callbacks.interruption import Interrupted
from pixelcnn_lit.callbacks.measurements import GradientNorm, Throughput
from pixelcnn_lit.callbacks.nan_guard import NaNGuard
from pixelcnn_lit.callbacks.progress import ProgressBar, ProgressLines
from pixelcnn_lit.callbacks.reconstructions import Reconstructions
from pixelcnn_lit.callbacks.samples import SampleGrid
from pixelcnn_lit.callbacks.step_seeds import StepSeeds
