# python tools/train.py configs/dts/camvid_day2dusk_dts_daformer.py
# CamVid day -> dusk, two groups of DAFormer. Expected: not measured yet.
# Cost: about two and a half times camvid_day2dusk_daformer; made for one CPU core.
# This toolkit's own definition of two coupled groups (docs/parts.md), not the authors' code.
_base_ = ["../daformer/camvid_day2dusk_daformer.py"]
train_dataloader = dict(dataset=dict(second_target=True))
_group = dict(
    type="SelfTraining",
    teacher=dict(type="EMATeacher", decay=0.99, mode="eval", buffers="ema"),
    selector=dict(type="ClassBalancedThreshold", share=0.5, maximum=0.9, momentum=0.95, ramp=200),
    mixer=dict(type="ClassMix"),
    view=dict(type="ColorJitterBlur"),
    terms=[dict(type="FeatureDistance", classes=[6, 8, 9, 10], weight=0.005)],
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
