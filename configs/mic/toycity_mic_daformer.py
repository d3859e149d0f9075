# python tools/train.py configs/mic/toycity_mic_daformer.py
# ToyCity's drawn source -> its drawn target, MIC over DAFormer. Expected: not measured.
# Data: python tools/make_toycity.py data/toycity
# Cost: three passes of a student and one of a teacher an iteration (toycity_daformer: two and one);
# made for one CPU core, not measured.
_base_ = [
    "../_base_/data/toycity.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(dataset=dict(sampling=dict(temperature=0.1)))
model = dict(
    data_preprocessor=dict(size=(192, 256)),  # the crop
    method=dict(
        type="SelfTraining",
        # The published decay of 0.999 averages over a thousand iterations, more than there are.
        teacher=dict(type="EMATeacher", decay=0.99),
        selector=dict(type="ConfidenceShare", threshold=0.9),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms=[
            dict(type="FeatureDistance", weight=0.005),
            dict(
                type="MaskedConsistency",
                images="target",
                view=dict(type="ColorJitterBlur"),
                block_size=16,  # of a crop 192 high; 32 of 512 would be 12
                ratio=0.7,
            ),
        ],
    ),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
