"""Parity with recorded arrays of published code: `python -m tests.parity FAMILY FOLDER`."""
