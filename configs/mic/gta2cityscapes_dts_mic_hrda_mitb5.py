# python tools/train.py configs/mic/gta2cityscapes_dts_mic_hrda_mitb5.py
# GTA5 -> Cityscapes, two groups of MIC over HRDA. Expected: not measured.
# Cost: seven passes of a student and four of a teacher an iteration (HRDA: two and one), two
# networks, two teachers; not measured.
# This toolkit's own definition of two coupled groups (docs/parts.md), not the authors' code. Masked
# images of a group have the labels of its route.
_base_ = ["../hrda/gta2cityscapes_hrda_mitb5.py"]
train_dataloader = dict(dataset=dict(second_target=True))
_group = dict(
    type="SelfTraining",
    teacher=dict(type="EMATeacher", decay=0.999, buffers="own", mode="train"),
    selector=dict(type="ConfidenceShare", threshold=0.968, scope="batch"),
    mixer=dict(type="ClassMix", candidates="batch"),
    view=dict(type="ColorJitterBlur", gate="batch"),
    terms=[
        dict(type="FeatureDistance", weight=0.005, min_share=0.75),
        dict(
            type="MaskedConsistency",
            images="target",
            view=dict(type="ColorJitterBlur", gate="batch"),
            block_size=64,
            ratio=0.7,
        ),
    ],
)
model = dict(
    method=dict(
        _delete_=True,
        type="DualTeacherStudent",
        primary=_group,
        secondary=_group,
        target_mix=dict(type="TargetMix"),
        start_exchange=1500,
    )
)
