# 1,000 iterations on a CPU: the decoder learns seven times as fast as the encoder.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="AdamW", lr=3e-4, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=7.0))),
)
param_scheduler = [dict(type="WarmUpPolyLR", by_epoch=False, power=0.9, warmup=20)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1000, val_interval=500)
