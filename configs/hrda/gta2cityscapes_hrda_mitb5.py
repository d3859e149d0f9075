# python tools/train.py configs/hrda/gta2cityscapes_hrda_mitb5.py
# GTA5 -> Cityscapes. Expected: 73.8 mIoU (published, HRDA, mean of 3 seeds; not run here).
# Cost: 32 h on one Titan RTX, 22.5 GB (published). Memory of this code: docs/methods/hrda.md.
_base_ = [
    "../_base_/data/gta2cityscapes_1024.py",
    "../_base_/models/hrda_mitb5.py",
    "../_base_/schedules/daformer_40k.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(sampling=dict(temperature=0.01, min_pixels=3000, min_crop_share=2.0))
)
model = dict(
    method=dict(
        type="SelfTraining",
        teacher=dict(type="EMATeacher", decay=0.999, buffers="own", mode="train"),
        selector=dict(type="ConfidenceShare", threshold=0.968, scope="batch"),
        mixer=dict(type="ClassMix", candidates="batch"),
        view=dict(type="ColorJitterBlur", gate="batch"),
        terms=[
            dict(
                type="FeatureDistance",
                classes=[6, 7, 11, 12, 13, 14, 15, 16, 17, 18],  # things
                weight=0.005,
                min_share=0.75,
            )
        ],
    ),
)
