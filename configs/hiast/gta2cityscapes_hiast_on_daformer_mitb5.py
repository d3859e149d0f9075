# python tools/train.py configs/daformer/gta2cityscapes_daformer_mitb5.py
# python tools/train_rounds.py configs/hiast/gta2cityscapes_hiast_on_daformer_mitb5.py \
#     --start work_dirs/gta2cityscapes_daformer_mitb5/iter_40000.pth --start-network teacher
# (one round by hand: tools/generate_labels.py, then
# python tools/train.py configs/hiast/gta2cityscapes_hiast_on_daformer_mitb5.py \
#     --cfg-options train_dataloader.dataset.target.label_dir=LABELS model.start.checkpoint=FILE)
# GTA5 -> Cityscapes, HIAST from a DAFormer start. Expected: not run here.
# Cost: not measured.
_base_ = [
    "../_base_/data/cityscapes_pseudo_labelled.py",
    "../_base_/models/daformer_mitb5.py",
    "../_base_/schedules/hiast_8k.py",
    "../_base_/runtime/default.py",
]
# Scales and crops that DAFormer has learnt with. The lists replace the base's.
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        target=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadPseudoLabel"),
                dict(type="HardClassCopyPaste", num_hard=14),
                dict(
                    type="Albumentations",
                    transforms=[
                        dict(type="HorizontalFlip", p=0.5),
                        dict(
                            type="RandomSizedCrop",
                            min_max_height=(683, 1024),
                            size=(512, 512),
                            w2h_ratio=1.0,
                        ),
                    ],
                ),
                dict(type="PackSegInputs"),
            ]
        )
    ),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale=(1024, 512), keep_ratio=True),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ]
    )
)
model = dict(
    method=dict(
        type="HardAwareSelfTraining",
        teacher=dict(type="EMATeacher", decay=0.999, warmup=False, buffers="copy", mode="eval"),
        terms=[
            dict(type="RegionRegularisation", confident_weight=0.1, ignored_weight=1.0),
            dict(type="RegionConsistency", weight=0.5),
        ],
    ),
)
# A tenth of DAFormer's rates, in its proportion of encoder and head.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=6e-6, betas=(0.9, 0.999), weight_decay=0.01),
)
param_scheduler = [dict(type="CosineLR", by_epoch=False, floor=6e-9)]
default_hooks = dict(checkpoint=dict(interval=4000))
label_generation = dict(selector=dict(type="InstanceAdaptive", alpha=0.5), batch_size=2)
rounds = dict(
    count=3,
    starts_from="student",
    labelled_by="teacher",
    changes=[
        {},
        {"optim_wrapper.optimizer.lr": 4e-6, "param_scheduler.0.floor": 4e-9},
        {"optim_wrapper.optimizer.lr": 2e-6, "param_scheduler.0.floor": 2e-9},
    ],
)
