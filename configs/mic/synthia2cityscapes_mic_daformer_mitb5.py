# python tools/train.py configs/mic/synthia2cityscapes_mic_daformer_mitb5.py
# SYNTHIA -> Cityscapes, MIC over DAFormer. Expected: not measured.
# Cost: three passes of a student and one of a teacher an iteration (DAFormer: two and one); not
# measured.
# Masks as released for crops of 512; they share DAFormer's teacher.
_base_ = [
    "../_base_/data/synthia2cityscapes_512.py",
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
            ),
            dict(
                type="MaskedConsistency",
                images="target",
                view=dict(type="ColorJitterBlur", gate="batch"),
                block_size=32,
                ratio=0.7,
            ),
        ],
    ),
)
