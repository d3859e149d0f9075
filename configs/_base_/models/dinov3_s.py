# DINOv3 ViT-S/16 with the lightweight head: 22 million parameters in the encoder. Mind Meta's DINOv3
# licence: its text goes with weights and derivatives, publications name the materials, no military
# use. Sides that are multiples of 16 are seen as they are.
model = dict(
    type="DomainAdaptation",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    network=dict(
        type="SlidingSegmentor",
        backbone=dict(
            type="FoundationEncoder",
            name="vit_small_patch16_dinov3.lvd1689m",
            weights="weights/vit_small_patch16_dinov3.lvd1689m.safetensors",
        ),
        decode_head=dict(type="LightweightHead", in_channels=384, num_classes=19),
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512), short_side=1024),
    ),
)
