# python tools/train.py configs/hiast/gta2cityscapes_warm_up_deeplabv2_r101.py
# python tools/train_rounds.py configs/hiast/gta2cityscapes_hiast_deeplabv2_r101.py \
#     --start work_dirs/gta2cityscapes_warm_up_deeplabv2_r101/iter_40000.pth
# (one round by hand: tools/generate_labels.py, then
# python tools/train.py configs/hiast/gta2cityscapes_hiast_deeplabv2_r101.py \
#     --cfg-options train_dataloader.dataset.target.label_dir=LABELS model.start.checkpoint=FILE)
# GTA5 -> Cityscapes, HIAST. Expected: not run here (the released code's README: 56.3 mIoU).
# Cost: not measured. The released code trains batches of 6 on several GPUs.
_base_ = [
    "../_base_/data/cityscapes_pseudo_labelled.py",
    "../_base_/models/deeplabv2_r101.py",
    "../_base_/schedules/hiast_8k.py",
    "../_base_/runtime/default.py",
]
model = dict(
    # As released: scale and shift stay, running statistics go on.
    batch_norm="affine_frozen",
    data_preprocessor=dict(size=(512, 1024)),  # the crop
    network=dict(decode_head=dict(dilations=(6, 12, 18, 24), align_corners=True)),
    method=dict(
        type="HardAwareSelfTraining",
        teacher=dict(type="EMATeacher", decay=0.999, warmup=False, buffers="copy", mode="eval"),
        terms=[
            dict(
                type="RegionRegularisation",
                confident_weight=0.1,
                ignored_weight=1.0,
                normalisation="pixels_and_classes",
            ),
            dict(type="RegionConsistency", weight=0.5, region="ignored"),
        ],
    ),
)
default_hooks = dict(checkpoint=dict(interval=400))
randomness = dict(seed=888)
label_generation = dict(
    selector=dict(type="InstanceAdaptive", alpha=0.5, beta=0.9, gamma=8.0, half_precision=True),
    batch_size=2,
    seed=888,
)
rounds = dict(
    count=3,
    starts_from="student",
    labelled_by="teacher",
    changes=[
        {},
        {"optim_wrapper.optimizer.lr": 2e-6, "param_scheduler.0.floor": 2e-9},
        {"optim_wrapper.optimizer.lr": 1e-6, "param_scheduler.0.floor": 1e-9},
    ],
)
