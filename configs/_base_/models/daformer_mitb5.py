# Mix Transformer B5 with the DAFormer head: 85 million parameters. The encoder starts from
# SegFormer's ImageNet weights, weights/mit_b5.pth (see data/README.md for where to get them).
model = dict(
    type="DomainAdaptation",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    network=dict(
        type="EncoderDecoder",
        backbone=dict(type="MixTransformer", variant="b5", weights="weights/mit_b5.pth"),
        decode_head=dict(type="DAFormerHead", in_channels=[64, 128, 320, 512], num_classes=19),
        test_cfg=dict(mode="whole"),
    ),
)
