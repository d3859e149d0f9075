"""Checking the data of a config before a run: every file, and the sets as wholes.

`uda.data.check.run.check_sets` does it, `uda.data.check.table` shows it. Nothing is written or
changed. (Nothing is imported here: worker processes need `uda.data.check.pairs` alone.)
"""
