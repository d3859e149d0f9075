"""The tables of `tests/test_bad_input.py`: what is spoilt, and the sentence that has to come."""
