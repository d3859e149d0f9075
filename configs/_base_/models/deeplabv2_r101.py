# DeepLabV2 on ResNet-101 with output stride 8, the network of the older literature. The encoder
# starts from timm's or torchvision's ImageNet weights in weights/resnet101.pth.
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
        backbone=dict(
            type="TimmEncoder",
            name="resnet101",
            model_args=dict(output_stride=8),
            weights="weights/resnet101.pth",
        ),
        decode_head=dict(type="DeepLabV2Head", in_channels=2048, num_classes=19, dilations=(6, 12)),
        test_cfg=dict(mode="whole"),
    ),
)
