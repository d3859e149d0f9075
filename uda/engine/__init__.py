"""What ties methods to mmengine's Runner; importing it registers everything."""

from uda._quiet import quiet_mmseg_import

quiet_mmseg_import()

import uda.data.registration  # noqa: E402, F401
import uda.evaluation  # noqa: E402, F401
import uda.models  # noqa: E402, F401
from uda.engine import (  # noqa: E402, F401
    adapters,
    checkpoints,
    collapse_alarm,
    distributed,
    hooks,
    model,
    non_finite,
    optim,
    preemption,
    random_state,
    run_record,
    runner,
    schedule,
    target_statistics,
    warm_up_decay,
)
from uda.engine.live import progress, tensorboard, view  # noqa: E402, F401
