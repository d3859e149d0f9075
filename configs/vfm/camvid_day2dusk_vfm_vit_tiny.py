# python tools/train.py configs/vfm/camvid_day2dusk_vfm_vit_tiny.py
# CamVid day -> dusk, the loop of VFM-UDA around timm's ViT-Ti/16 with its first four blocks, small
# enough for a CPU. Expected: not measured; it starts from random weights, because none come with a
# package, so that it shows the way and not the quality. With weights (timm's vit_tiny_patch16_224,
# ImageNet) set model.network.backbone.weights to their file, depth to 12 and the mean and deviation
# to 127.5, as here.
# Cost: three passes of the student and two of the teacher an iteration; made for one CPU core, not
# measured.
_base_ = [
    "../_base_/data/camvid_day2dusk.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(
        sampling=dict(
            temperature=0.1, statistics="work_dirs/camvid_day2dusk_class_statistics.json"
        ),
    )
)
model = dict(
    type="DomainAdaptation",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(240, 320),  # the crop
    ),
    network=dict(
        type="EncoderDecoder",
        backbone=dict(
            type="FoundationEncoder",
            name="vit_tiny_patch16_224",
            weights=None,
            model_args=dict(depth=4),
        ),
        decode_head=dict(type="LightweightHead", in_channels=192, num_classes=11),
        test_cfg=dict(mode="whole"),
    ),
    method=dict(
        type="SelfTraining",
        teacher=dict(type="EMATeacher", decay=0.99, flip_average=True),
        selector=dict(
            type="ClassBalancedThreshold", share=0.5, maximum=0.9, momentum=0.95, ramp=200
        ),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms=[
            dict(
                type="MaskedConsistency",
                images="target",
                view=dict(type="ColorJitterBlur"),
                block_size=16,
                ratio=0.7,
            )
        ],
    ),
)
# A random encoder learns as fast as the decoder; with weights: layer_decay=dict(rate=0.9,
# lr_mult=0.1) in place of the keys.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(_delete_=True)))
param_scheduler = [
    dict(type="WarmUpDecayLR", by_epoch=False, decay="cosine", warmup=20, decay_from="warmup")
]
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
