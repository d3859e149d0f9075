# python tools/train.py configs/semi_supervised/camvid_day_fst.py
# CamVid by day, one label in sixteen, FST-D in its semi-supervised order. Expected: not measured yet.
# Cost: four steps an iteration, where FixMatch has one: not measured; made for one CPU core.
_base_ = [
    "../_base_/data/camvid_day2dusk.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
# Every sixteenth image has a label; all images are learnt from without.
train_dataloader = dict(
    dataset=dict(
        source=dict(indices=list(range(0, 425, 16))),
        target=dict(image_dir="source/images/train"),
    )
)
val_dataloader = dict(
    dataset=dict(image_dir="source/images/val", label_dir="source/labels/val"),
)
model = dict(
    data_preprocessor=dict(size=(240, 320)),  # the crop
    network=dict(decode_head=dict(num_classes=11)),
    method=dict(
        type="SelfTraining",
        teacher=dict(type="EMATeacher", decay=0.99, buffers="ema", mode="eval"),
        selector=dict(type="EntropyPercentile", percentile=80, boundary="drop", rescale=True),
        average="valid",
        mixer=dict(type="TargetMix", mask="cutmix"),
        view=dict(type="ColorJitterBlur"),
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="semi_supervised"),
    ),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
