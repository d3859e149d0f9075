# python tools/train.py configs/daformer/cityscapes2darkzurich_daformer_mitb5.py
# Cityscapes -> Dark Zurich. Expected: 53.8 mIoU on the test split (published, DAFormer, mean of 3 seeds; not run here).
# Cost: as GTA -> Cityscapes.
# The rows above and below the pseudo-labels are those of the released generator (its id 8).
_base_ = [
    "../_base_/data/cityscapes2darkzurich_512.py",
    "../_base_/models/daformer_mitb5.py",
    "../_base_/schedules/daformer_40k.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(sampling=dict(temperature=0.01, min_pixels=3000, min_crop_share=0.5))
)
model = dict(
    method=dict(
        type="SelfTraining",
        teacher=dict(type="EMATeacher", decay=0.999, buffers="own", mode="train"),
        selector=dict(
            type="ConfidenceShare", threshold=0.968, scope="batch", ignore_rows=(15, 120)
        ),
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
