"""Tests of `uda.selftraining`."""
