# python tools/train.py configs/source_only/camvid_day2dusk_source_only.py
# python tools/train_rounds.py configs/hiast/camvid_day2dusk_iast.py \
#     --start work_dirs/camvid_day2dusk_source_only/iter_600.pth
# (one round by hand: tools/generate_labels.py, then
# python tools/train.py configs/hiast/camvid_day2dusk_iast.py \
#     --cfg-options train_dataloader.dataset.target.label_dir=LABELS model.start.checkpoint=FILE)
# CamVid day -> dusk, IAST from a source-only start: HIAST without copy-paste, second view and
# consistency, labelled by the student. Expected: not measured. Cost: not measured.
_base_ = [
    "../_base_/data/camvid_dusk_pseudo_labelled.py",
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
# No copy-paste and no second view. The list replaces the base's.
train_dataloader = dict(
    dataset=dict(
        target=dict(
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadPseudoLabel"),
                dict(
                    type="Albumentations",
                    transforms=[
                        dict(type="HorizontalFlip", p=0.5),
                        dict(
                            type="RandomSizedCrop",
                            min_max_height=(160, 360),
                            size=(240, 320),
                            w2h_ratio=4 / 3,
                        ),
                        dict(
                            type="RandomBrightnessContrast",
                            brightness_limit=0.2,
                            contrast_limit=0.2,
                            p=0.3,
                        ),
                    ],
                ),
                dict(type="PackSegInputs"),
            ]
        ),
        strong=[],
    ),
)
model = dict(
    data_preprocessor=dict(size=(240, 320)),  # the crop
    network=dict(decode_head=dict(num_classes=11)),
    method=dict(
        type="HardAwareSelfTraining",
        # Not used for labels; it is there to be scored.
        teacher=dict(type="EMATeacher", decay=0.99, warmup=False, buffers="copy", mode="eval"),
        terms=[dict(type="RegionRegularisation", confident_weight=0.1, ignored_weight=3.0)],
    ),
)
# A round refines what the start has learnt: a third of the rate, a third of the iterations.
optim_wrapper = dict(optimizer=dict(lr=1e-4))
train_cfg = dict(max_iters=200, val_interval=200)
default_hooks = dict(
    checkpoint=dict(interval=100, max_keep_ckpts=1),
    # Scored, deployed and labelled by with batch normalisation of whole target images.
    statistics=dict(type="TargetStatistics"),
)
label_generation = dict(selector=dict(type="InstanceAdaptive", alpha=0.2), batch_size=2)
rounds = dict(
    count=3,
    starts_from="student",
    labelled_by="student",
    changes=[
        {},
        {"label_generation.selector.alpha": 0.25},
        {"label_generation.selector.alpha": 0.3},
    ],
)
