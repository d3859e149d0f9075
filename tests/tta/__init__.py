"""Tests of test-time adaptation."""
