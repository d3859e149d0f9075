# VFM-UDA++'s schedule: AdamW, 1,500 iterations of warm-up, then a linear decay over 40,000. The top
# rate is lr times the root of all images of a domain in a step; the last block of the encoder
# learns at a tenth of it, every block before at 0.9 of the next. All weights decay alike.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="AdamW", lr=5e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(layer_decay=dict(rate=0.9, lr_mult=0.1), batch_size=2),
)
# As released, the decay counts from the start, so that the rate jumps to 0.9625 at iteration 1500;
# decay_from="warmup" is without the jump.
param_scheduler = [
    dict(type="WarmUpDecayLR", by_epoch=False, decay="linear", warmup=1500, decay_from="start")
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=1000)
