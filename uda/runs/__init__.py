"""What a run was: the file `run.json` beside it, and the comparison of two runs.

Imports neither torch nor mmengine, so that reading and comparing is quick; only
`uda.runs.environment` needs torch, to ask it about its build and the machine.
"""

from uda.runs.comparison import Comparison, Difference, compare_runs
from uda.runs.logs import RunLog, read_log
from uda.runs.record import read_record, write_record

__all__ = [
    "Comparison",
    "Difference",
    "RunLog",
    "compare_runs",
    "read_log",
    "read_record",
    "write_record",
]
