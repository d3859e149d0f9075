# python tools/train.py configs/hiast/gta2cityscapes_advent_deeplabv2_r101.py
# GTA5 -> Cityscapes, AdvEnt: a discriminator that sees the entropy of each class. It can be the start
# of rounds of IAST and HIAST. Expected: not run here. Cost: not measured.
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
        type="AdversarialWarmUp",
        average="valid",
        terms=[
            dict(
                type="AdversarialOutput",
                weight=0.001,
                loss="cross_entropy",
                inputs="self_information",
            )
        ],
    ),
)
# The rates of the released AdaptSegNet, with a head that learns ten times as fast.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="SGD", lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))),
    opponents=dict(discriminator=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))),
)
param_scheduler = [dict(type="WarmUpPolyLR", by_epoch=False, power=0.9, warmup=0)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=4000)
