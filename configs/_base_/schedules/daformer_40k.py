# DAFormer's schedule: AdamW, linear decay over 40,000 iterations with 1,500 of warm-up.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict(
            head=dict(lr_mult=10.0), norm=dict(decay_mult=0.0), pos_block=dict(decay_mult=0.0)
        )
    ),
)
param_scheduler = [
    dict(type="WarmUpPolyLR", by_epoch=False, power=1.0, warmup=1500, warmup_ratio=1e-6)
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=4000)
