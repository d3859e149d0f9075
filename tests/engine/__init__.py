"""Tests of `uda.engine`."""
