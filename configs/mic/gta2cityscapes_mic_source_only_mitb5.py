# python tools/train.py configs/mic/gta2cityscapes_mic_source_only_mitb5.py
# GTA5 -> Cityscapes, source-only training with masked consistency on the target. Expected: not
# measured.
# Cost: two passes of a student and one of a teacher an iteration (source-only: one and none); not
# measured.
# There is no host with labels for the target, so the term has a teacher and a selector of its own.
_base_ = [
    "../_base_/data/gta2cityscapes_512.py",
    "../_base_/models/daformer_mitb5.py",
    "../_base_/schedules/daformer_40k.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(sampling=dict(temperature=0.01, min_pixels=3000, min_crop_share=0.5))
)
model = dict(
    evaluate=["student"],
    method=dict(
        type="SourceOnly",
        terms=[
            dict(
                type="MaskedConsistency",
                images="target",
                view=dict(type="ColorJitterBlur", gate="batch"),
                block_size=32,
                ratio=0.7,
                teacher=dict(type="EMATeacher", decay=0.999, buffers="own", mode="train"),
                selector=dict(
                    type="ConfidenceShare", threshold=0.968, scope="batch", ignore_rows=(15, 120)
                ),
            )
        ],
    ),
)
