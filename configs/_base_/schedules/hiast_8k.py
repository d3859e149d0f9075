# A round of HIAST: Adam with L2 decay, cosine over 8,000 iterations down to a floor for all groups.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="Adam", lr=3e-6, betas=(0.9, 0.999), weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))),
)
param_scheduler = [dict(type="CosineLR", by_epoch=False, floor=3e-9)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=8000, val_interval=400)
