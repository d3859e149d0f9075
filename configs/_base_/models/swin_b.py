# Swin-Base with windows of 7 from ImageNet-22k (MIT) and the pyramid head: 87 million parameters in
# the encoder. Sides come to the next multiple of 32; windows stay 7x7 at every size.
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
            name="swin_base_patch4_window7_224.ms_in22k",
            weights="weights/swin_base_patch4_window7_224.ms_in22k.safetensors",
        ),
        decode_head=dict(type="PyramidHead", in_channels=[128, 256, 512, 1024], num_classes=19),
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512), short_side=1024),
    ),
)
