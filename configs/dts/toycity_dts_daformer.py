# python tools/train.py configs/dts/toycity_dts_daformer.py
# ToyCity's drawn source -> its drawn target, two groups of DAFormer. Expected: not measured yet.
# Data: python tools/make_toycity.py data/toycity
# Cost: about two and a half times toycity_daformer; made for one CPU core.
# This toolkit's own definition of two coupled groups (docs/parts.md), not the authors' code.
_base_ = ["../daformer/toycity_daformer.py"]
train_dataloader = dict(dataset=dict(second_target=True))
_group = dict(
    type="SelfTraining",
    teacher=dict(type="EMATeacher", decay=0.99),
    selector=dict(type="ConfidenceShare", threshold=0.9),
    mixer=dict(type="ClassMix"),
    view=dict(type="ColorJitterBlur"),
    terms=[dict(type="FeatureDistance", weight=0.005)],
)
model = dict(
    method=dict(
        _delete_=True,
        type="DualTeacherStudent",
        primary=_group,
        secondary=_group,
        target_mix=dict(type="TargetMix"),
        start_exchange=100,
    )
)
