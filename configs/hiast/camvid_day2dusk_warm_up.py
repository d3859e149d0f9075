# python tools/train.py configs/hiast/camvid_day2dusk_warm_up.py
# CamVid day -> dusk, adversarial warm-up: the start of rounds of IAST and HIAST.
# Expected: not measured. Cost: not measured.
_base_ = [
    "../_base_/data/camvid_day2dusk.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
model = dict(
    data_preprocessor=dict(size=(240, 320)),  # the crop
    network=dict(decode_head=dict(num_classes=11)),
    method=dict(
        type="AdversarialWarmUp",
        terms=[dict(type="AdversarialOutput", weight=0.01, loss="squares")],
    ),
)
optim_wrapper = dict(opponents=dict(discriminator=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))))
default_hooks = dict(
    checkpoint=dict(interval=300, max_keep_ckpts=1),
    # Scored and deployed with batch normalisation of whole target images.
    statistics=dict(type="TargetStatistics"),
)
