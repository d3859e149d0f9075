# python tools/train.py configs/daformer/toycity_categories_daformer.py
# ToyCity's drawn source -> its drawn target in 7 categories, DAFormer. Expected: 53.2 mIoU
# with 300 iterations (seed 0, `make demo`, docs/results.md); not measured with these 600.
# Data: python tools/make_toycity.py data/toycity
# Cost: not measured alone; the demo's two runs take 5 minutes together on two CPU cores.
_base_ = [
    "../_base_/data/toycity_categories.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(
        sampling=dict(temperature=0.1, statistics="work_dirs/toycity_categories_statistics.json")
    )
)
model = dict(
    data_preprocessor=dict(size=(192, 256)),  # the crop
    network=dict(decode_head=dict(num_classes=7)),
    method=dict(
        type="SelfTraining",
        # The published decay of 0.999 averages over a thousand iterations, more than there are.
        teacher=dict(type="EMATeacher", decay=0.99),
        selector=dict(type="ConfidenceShare", threshold=0.9),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        terms=[dict(type="FeatureDistance", classes=[2, 5, 6], weight=0.005)],
    ),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
