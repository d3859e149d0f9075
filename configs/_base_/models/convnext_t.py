# ConvNeXt-Tiny from ImageNet-22k (Apache-2.0) with the pyramid head: 28 million parameters in the
# encoder. Sides come to the next multiple of 32.
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
            name="convnext_tiny.fb_in22k",
            weights="weights/convnext_tiny.fb_in22k.safetensors",
        ),
        decode_head=dict(type="PyramidHead", in_channels=[96, 192, 384, 768], num_classes=19),
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512), short_side=1024),
    ),
)
