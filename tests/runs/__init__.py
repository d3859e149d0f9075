"""Tests of run records and their comparison."""
