"""Foldline: from a competition's train.csv to a submission.csv whose score can be believed."""

__version__ = "0.1.0"

# Raised whenever the same config and files would give other numbers; part of every fingerprint.
ENGINE_VERSION = 1
