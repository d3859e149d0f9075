# python tools/train.py configs/dts/gta2cityscapes_dts_fst_daformer_mitb5.py
# GTA5 -> Cityscapes, two groups of DAFormer, the target-focused one looks ahead (FST-D). Expected:
# not measured yet.
# Cost: two passes of the primary student, 12 of the secondary one an iteration; not measured.
# This toolkit's own definition of two coupled groups (docs/parts.md), not the authors' code.
_base_ = ["../daformer/gta2cityscapes_daformer_mitb5.py"]
train_dataloader = dict(dataset=dict(second_target=True))
_group = dict(
    type="SelfTraining",
    teacher=dict(type="EMATeacher", decay=0.999, buffers="own", mode="train"),
    selector=dict(type="ConfidenceShare", threshold=0.968, scope="batch", ignore_rows=(15, 120)),
    mixer=dict(type="ClassMix", candidates="batch"),
    view=dict(type="ColorJitterBlur", gate="batch"),
    terms=[dict(type="FeatureDistance", weight=0.005, min_share=0.75)],
)
model = dict(
    method=dict(
        _delete_=True,
        type="DualTeacherStudent",
        primary=_group,
        secondary=dict(
            **_group,
            look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
        ),
        target_mix=dict(type="TargetMix"),
        start_exchange=1500,
    )
)
