# HRDA on DeepLabV2 with ResNet-101 of output stride 8. The scale attention is one hidden layer of
# 1x1 convolutions on the last map. The encoder starts from weights/resnet101.pth.
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
        backbone=dict(
            type="TimmEncoder",
            name="resnet101",
            model_args=dict(output_stride=8),
            weights="weights/resnet101.pth",
        ),
        decode_head=dict(type="DeepLabV2Head", in_channels=2048, num_classes=19, dilations=(6, 12)),
        attention_head=dict(
            type="FCNHead",
            in_channels=2048,
            in_index=-1,
            channels=256,
            num_convs=1,
            kernel_size=1,
            concat_input=False,
            num_classes=19,
        ),
        detail_size=(512, 512),
        detail_weight=0.1,
        output_stride=8,
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512)),
    ),
)
