"""Tests of `uda.methods`."""
