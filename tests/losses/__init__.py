"""Tests of `uda.losses`."""
