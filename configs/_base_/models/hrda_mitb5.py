# HRDA on Mix Transformer B5: the whole crop at half scale, a crop of 512x512 at full scale, both
# through the same encoder and DAFormer head, and a scale attention (Hoyer et al., ECCV 2022). The
# encoder starts from SegFormer's ImageNet weights, weights/mit_b5.pth (see data/README.md).
model = dict(
    type="DomainAdaptation",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(1024, 1024),
    ),
    network=dict(
        type="HRDASegmentor",
        backbone=dict(type="MixTransformer", variant="b5", weights="weights/mit_b5.pth"),
        decode_head=dict(type="DAFormerHead", in_channels=[64, 128, 320, 512], num_classes=19),
        attention_head=dict(
            type="DAFormerHead",
            in_channels=[64, 128, 320, 512],
            num_classes=19,
            fusion="conv1x1",
        ),
        detail_size=(512, 512),
        detail_weight=0.1,
        last_offset=False,  # as released
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512)),
    ),
)
