# python tools/train.py configs/dts/gta2cityscapes_dts_daformer_mitb5.py
# GTA5 -> Cityscapes, two groups of DAFormer. Expected: not measured yet.
# Cost: five passes of a student and four of a teacher an iteration (DAFormer: two and one), two
# networks, two teachers; not measured.
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
        secondary=_group,
        target_mix=dict(type="TargetMix"),
        start_exchange=1500,
    )
)
