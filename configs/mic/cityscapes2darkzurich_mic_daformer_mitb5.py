# python tools/train.py configs/mic/cityscapes2darkzurich_mic_daformer_mitb5.py
# Cityscapes -> Dark Zurich, MIC over DAFormer. Expected: not measured.
# Cost: three passes of a student and one of a teacher an iteration (DAFormer: two and one); not
# measured.
# Masks as released: half of each domain, no strong view. Pseudo-labels count in all rows, where
# DAFormer's generator leaves out 15 and 120: these images have no rectification artefacts.
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
        selector=dict(type="ConfidenceShare", threshold=0.968, scope="batch"),
        mixer=dict(type="ClassMix", candidates="batch"),
        view=dict(type="ColorJitterBlur", gate="batch"),
        terms=[
            dict(
                type="FeatureDistance",
                classes=[6, 7, 11, 12, 13, 14, 15, 16, 17, 18],  # things
                weight=0.005,
                min_share=0.75,
            ),
            dict(type="MaskedConsistency", images="halves", block_size=32, ratio=0.7),
        ],
    ),
)
