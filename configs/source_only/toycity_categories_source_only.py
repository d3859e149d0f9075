# python tools/train.py configs/source_only/toycity_categories_source_only.py
# ToyCity's drawn source -> its drawn target in 7 categories, source-only. Expected: 39.7
# mIoU with 300 iterations (seed 0, `make demo`, docs/results.md); not measured with these 600.
# Data: python tools/make_toycity.py data/toycity
# Cost: not measured alone; the demo's two runs take 5 minutes together on two CPU cores.
_base_ = [
    "../_base_/data/toycity_categories.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(dataset=dict(target=None))
model = dict(
    data_preprocessor=dict(size=(192, 256)),  # the crop
    network=dict(decode_head=dict(num_classes=7)),
    method=dict(type="SourceOnly"),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
