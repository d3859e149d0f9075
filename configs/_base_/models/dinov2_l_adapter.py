# DINOv2 ViT-L/14 (Apache-2.0) in a ViT-Adapter with the pyramid head: the network of VFM-UDA++.
# The adapter starts random; VFM-UDA++ starts it from ImageNet (`weights` of ViTAdapter). Works at
# multiples of 224 pixels: crops of 1024 are seen at 1120, as published, of 512 at 672.
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
            type="ViTAdapter",
            encoder=dict(
                type="FoundationEncoder",
                name="vit_large_patch14_dinov2.lvd142m",
                weights="weights/vit_large_patch14_dinov2.lvd142m.safetensors",
                position_rule="dinov2",
                final_norm=False,
            ),
        ),
        decode_head=dict(type="PyramidHead", in_channels=[1024, 1024, 1024, 1024], num_classes=19),
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512), short_side=1024),
    ),
)
