# python tools/train.py configs/hrda/toycity_hrda.py
# ToyCity's drawn source -> its drawn target, HRDA. Expected: not measured.
# Data: python tools/make_toycity.py data/toycity
# Cost: not measured; made for one CPU core.
# Images are enlarged by half, so that details show more than DAFormer's crops do.
_base_ = [
    "../_base_/data/toycity.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
resize = dict(type="RandomResize", scale=(480, 360), ratio_range=(0.9, 1.5), keep_ratio=True)
flip = dict(type="RandomFlip", prob=0.5)
train_dataloader = dict(
    dataset=dict(
        sampling=dict(temperature=0.1),
        source=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                resize,
                dict(type="RandomCrop", crop_size=(320, 416), cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            pipeline=[
                dict(type="LoadImage"),
                resize,
                dict(type="RandomCrop", crop_size=(320, 416)),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale=(480, 360), keep_ratio=True),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ]
    )
)
model = dict(
    data_preprocessor=dict(size=(320, 416)),  # the crop
    network=dict(
        type="HRDASegmentor",
        attention_head=dict(
            type="LightHead",
            in_channels=[24, 40, 112, 320],
            channels=96,
            num_convs=0,
            num_classes=19,
        ),
        detail_size=(160, 208),
        test_cfg=dict(mode="slide", crop_size=(320, 416), stride=(160, 208)),
    ),
    method=dict(
        type="SelfTraining",
        # The published decay of 0.999 averages over a thousand iterations, more than there are.
        teacher=dict(type="EMATeacher", decay=0.99),
        selector=dict(type="ConfidenceShare", threshold=0.9),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms=[dict(type="FeatureDistance", weight=0.005)],
    ),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
