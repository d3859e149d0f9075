# DINOv2 ViT-L/14 with registers (Apache-2.0) and the lightweight head of VFM-UDA: 304 million
# parameters in the encoder. VFM-UDA itself has the model without registers: for its checkpoints
# set name="vit_large_patch14_dinov2.lvd142m" and position_rule="dinov2". Crops of 1024 are seen at
# 1120, of 512 at 560 pixels. For the weights see docs/methods/foundation_encoders.md.
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
            name="vit_large_patch14_reg4_dinov2.lvd142m",
            weights="weights/vit_large_patch14_reg4_dinov2.lvd142m.safetensors",
            resize="vfm_uda",
        ),
        decode_head=dict(type="LightweightHead", in_channels=1024, num_classes=19),
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512), short_side=1024),
    ),
)
