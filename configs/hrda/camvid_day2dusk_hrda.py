# python tools/train.py configs/hrda/camvid_day2dusk_hrda.py
# CamVid day -> dusk, HRDA on EfficientNet-Lite0. Expected: not measured.
# Cost: not measured; about twice configs/daformer/camvid_day2dusk_daformer.py by its passes.
# Frames are enlarged to twice their 480x360 pixels, so that the context is what DAFormer sees there.
_base_ = [
    "../_base_/data/camvid_day2dusk.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
resize = dict(type="RandomResize", scale=(960, 720), ratio_range=(0.75, 1.5), keep_ratio=True)
flip = dict(type="RandomFlip", prob=0.5)
train_dataloader = dict(
    dataset=dict(
        sampling=dict(
            temperature=0.1,
            statistics="work_dirs/camvid_day2dusk_class_statistics.json",
        ),
        source=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                resize,
                dict(type="RandomCrop", crop_size=(480, 640), cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            pipeline=[
                dict(type="LoadImage"),
                resize,
                dict(type="RandomCrop", crop_size=(480, 640)),
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
            dict(type="Resize", scale=(960, 720), keep_ratio=True),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ]
    )
)
model = dict(
    data_preprocessor=dict(size=(480, 640)),  # the crop
    network=dict(
        type="HRDASegmentor",
        decode_head=dict(num_classes=11),
        attention_head=dict(
            type="LightHead",
            in_channels=[24, 40, 112, 320],
            channels=96,
            num_convs=0,
            num_classes=11,
        ),
        detail_size=(240, 320),
        test_cfg=dict(mode="slide", crop_size=(480, 640), stride=(240, 320)),
    ),
    method=dict(
        type="SelfTraining",
        # Teacher and selector as in configs/daformer/camvid_day2dusk_daformer.py, for its reasons.
        teacher=dict(type="EMATeacher", decay=0.99, mode="eval", buffers="ema"),
        selector=dict(
            type="ClassBalancedThreshold", share=0.5, maximum=0.9, momentum=0.95, ramp=200
        ),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms=[
            dict(
                type="FeatureDistance",
                classes=[6, 8, 9, 10],  # sign, car, pedestrian, bicyclist
                weight=0.005,
            )
        ],
    ),
)
default_hooks = dict(
    checkpoint=dict(interval=300, max_keep_ckpts=1),
    # Scored and deployed with batch normalisation of whole target images.
    statistics=dict(type="TargetStatistics"),
)
