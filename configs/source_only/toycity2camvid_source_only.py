# python tools/train.py configs/source_only/toycity2camvid_source_only.py
# ToyCity -> CamVid photographs, source-only. Expected: 41.9 mIoU on day val, 37.9 on dusk val (mean
# of seeds 0, 1, 2).
# Cost: 4 to 5 minutes on one CPU core, 1.7 GiB. Table: docs/results.md.
_base_ = [
    "../_base_/data/toycity2camvid.py",
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
