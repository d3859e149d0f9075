# EVA-02 ViT-B/14 (MIT) with the lightweight head: 86 million parameters in the encoder. Its images are
# normalised with CLIP's constants, not ImageNet's.
model = dict(
    type="DomainAdaptation",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    network=dict(
        type="SlidingSegmentor",
        backbone=dict(
            type="FoundationEncoder",
            name="eva02_base_patch14_224.mim_in22k",
            weights="weights/eva02_base_patch14_224.mim_in22k.safetensors",
            resize="vfm_uda",
        ),
        decode_head=dict(type="LightweightHead", in_channels=768, num_classes=19),
        test_cfg=dict(mode="slide", crop_size=(1024, 1024), stride=(512, 512), short_side=1024),
    ),
)
