# python tools/train.py configs/semi_supervised/camvid_day_fixmatch.py
# CamVid by day, one label in sixteen, FixMatch. Expected: not measured yet.
# Cost: not measured; made for one CPU core.
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
        # A teacher that is the student of the last iteration: FixMatch has one network.
        teacher=dict(type="EMATeacher", decay=0.0, warmup=False, buffers="copy", mode="eval"),
        selector=dict(type="ConfidenceThreshold", threshold=0.95),
        # Weak view: the crop and flip of the loader. Strong view: CutMix among unlabelled images,
        # then colours and blur. The loss is divided by all pixels, as in FixMatch.
        mixer=dict(type="TargetMix", mask="cutmix"),
        view=dict(type="ColorJitterBlur"),
    ),
)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=1))
