# python tools/train.py configs/hiast/gta2cityscapes_warm_up_deeplabv2_r101.py
# GTA5 -> Cityscapes, adversarial warm-up: the start of rounds of IAST and HIAST.
# Expected: not run here. Cost: not measured. The rounds need a start that is not poor; users of the
# released code report that 40 mIoU are enough. Compare with source-only training before going on.
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
            # IAST's discriminator; that of HIAST and AdaptSegNet has first_kernel=4.
            dict(type="AdversarialOutput", weight=0.05, loss="squares", first_kernel=3)
        ],
    ),
)
# The published stage starts from source-only weights, with a tenth of this rate.
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="Adam", lr=1e-5, betas=(0.9, 0.999), weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))),
    opponents=dict(discriminator=dict(type="Adam", lr=2e-5, betas=(0.9, 0.999))),
)
param_scheduler = [dict(type="CosineLR", by_epoch=False, floor=1e-7)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=4000)
