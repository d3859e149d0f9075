# Logging, checkpoints and environment, the same for all configs.
custom_imports = dict(imports=["uda.engine"], allow_failed_imports=False)
default_scope = "mmseg"
default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    logger=dict(type="DeviceLogger", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="Checkpoint", interval=2000, max_keep_ckpts=2),
    numbers=dict(type="NonFinite", policy="stop"),
    # Curves of pseudo-labels, phases and memory (docs/live_view.md); interval=None: each log line.
    live=dict(type="LiveView", enabled=True, interval=None),
    progress=dict(type="ProgressLine", enabled=True),  # in a terminal
    sampler_seed=None,  # our sampler needs no new seed each epoch
)
custom_hooks = [
    dict(type="RandomState"),
    dict(type="Preemption"),
    dict(type="PictureLog", interval=500),
    dict(type="DeployCheckpoint"),
    dict(type="CollapseAlarm"),
]
# Each logged value is already the mean over its interval.
log_processor = dict(type="LogProcessor", window_size=1, by_epoch=False)
visualizer = dict(
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="RunTensorBoard")],
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
val_cfg = dict(type="ValLoop")
