# python tools/train.py configs/vfm/gta2cityscapes_vfm_soma_dinov2_l.py
# GTA5 -> Cityscapes, self-training of DINOv2 ViT-L/14 by SoMA: 5 of 304 million weights of the
# encoder are trained. Expected: not measured; no published figure has SoMA in such a loop.
# Cost: three passes of the student and two of the teacher an iteration, which share the frozen
# weights; no optimiser state of them. Not measured.
# LoRA and Rein are dict(type="LoRA", rank=16) and dict(type="Rein"). SoMA's own schedule is AdamW
# with 1e-4 for the head and 5e-5 for the rest.
_base_ = [
    "../_base_/data/gta2cityscapes_1024_vfm.py",
    "../_base_/models/dinov2_l.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(sampling=dict(temperature=0.05, min_pixels=3000, min_crop_share=2.0, retries=20))
)
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),  # the crop
    network=dict(
        backbone=dict(
            _delete_=True,
            type="TunedEncoder",
            encoder=dict(
                type="FoundationEncoder",
                name="vit_large_patch14_reg4_dinov2.lvd142m",
                weights="weights/vit_large_patch14_reg4_dinov2.lvd142m.safetensors",
                resize="vfm_uda",
            ),
            tuning=dict(type="SoMA", rank=16, first_block=8),
        )
    ),
    method=dict(
        type="SelfTraining",
        teacher=dict(
            type="EMATeacher",
            decay=0.999,
            buffers="own",
            mode="train",
            flip_average=True,
            share_frozen=True,
        ),
        selector=dict(type="ConfidenceShare", threshold=0.968, scope="batch"),
        mixer=dict(type="ClassMix", candidates="batch", unlabelled_weight=0.0),
        view=dict(type="ColorJitterBlur", gate="image"),
        terms=[
            dict(
                type="MaskedConsistency",
                images="target",
                view=dict(type="ColorJitterBlur", gate="image"),
                block_size=58,  # 64 of the 1120 pixels that the network sees
                ratio=0.7,
            )
        ],
    ),
)
optim_wrapper = dict(
    type="OptimWrapper",
    constructor="ParameterGroups",
    optimizer=dict(type="AdamW", lr=5e-5, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=2.0))),
)
param_scheduler = [
    dict(type="WarmUpPolyLR", by_epoch=False, power=0.9, warmup=0),
    dict(
        type="CosineAnnealingParamScheduler",
        param_name="weight_decay",
        eta_min=1e-5,
        begin=0,
        end=40000,
        by_epoch=False,
    ),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=40000, val_interval=1000)
