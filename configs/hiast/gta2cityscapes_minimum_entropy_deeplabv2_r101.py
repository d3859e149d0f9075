# python tools/train.py configs/hiast/gta2cityscapes_minimum_entropy_deeplabv2_r101.py
# GTA5 -> Cityscapes, entropy minimisation (MinEnt, AdvEnt's simpler relative): no discriminator.
# Expected: not run here. Cost: not measured.
_base_ = [
    "../_base_/data/gta2cityscapes_512.py",
    "../_base_/models/deeplabv2_r101.py",
    "../_base_/runtime/default.py",
]
model = dict(
    # As released: scale and shift stay, running statistics go on.
    batch_norm="affine_frozen",
    network=dict(decode_head=dict(dilations=(6, 12, 18, 24), align_corners=True)),
    method=dict(
        type="SourceOnly",
        average="valid",
        terms=[dict(type="EntropyMinimisation", weight=0.001)],
    ),
)
# The rates of the released AdaptSegNet, with a head that learns ten times as fast.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="SGD", lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))),
)
param_scheduler = [dict(type="WarmUpPolyLR", by_epoch=False, power=0.9, warmup=0)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=4000)
