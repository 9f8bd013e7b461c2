"""Does the platform see what is there? What it found in simulated plates against what was planted in them."""

from morpho_assets.evaluate.truth.checks import CHECKS, Check, Finding
from morpho_assets.evaluate.truth.evaluator import TruthConfig, truth_checks

__all__ = ["CHECKS", "Check", "Finding", "TruthConfig", "truth_checks"]
