# python tools/train.py configs/source_only/camvid_day2dusk_source_only.py
# CamVid day -> dusk, source-only. Expected: not yet measured with three seeds.
# Cost: not yet measured; made for one CPU core.
_base_ = [
    "../_base_/data/camvid_day2dusk.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(dataset=dict(target=None))
model = dict(
    data_preprocessor=dict(size=(240, 320)),  # the crop
    network=dict(decode_head=dict(num_classes=11)),
    method=dict(type="SourceOnly"),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
