# python tools/train.py configs/daformer/camvid_day2dusk_daformer.py
_base_ = [
    "../_base_/data/camvid_day2dusk.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(dataset=dict(sampling=dict(type="RareClassSampling", temperature=0.1)))
model = dict(
    data_preprocessor=dict(size=(240, 320)),  # the crop
    network=dict(decode_head=dict(num_classes=11)),
    method=dict(
        type="SelfTraining",
        teacher=dict(type="EMATeacher", decay=0.99),
        selector=dict(type="ConfidenceShare", threshold=0.9),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms=[dict(type="FeatureDistance", classes=[2, 6, 7, 8, 9, 10], weight=0.005)],
    ),
)
