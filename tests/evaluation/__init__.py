"""Tests of `uda.evaluation`."""
