# CamVid by day (labelled) -> CamVid at dusk (no labels), 11 classes. Training on crops of
# 320x240 at the full scale of 480x360, evaluation on whole frames.
data_root = "data/camvid_day2dusk"
classes = [
    "sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
]  # fmt: skip
palette = [
    [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
    [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
]  # fmt: skip
folder = dict(
    type="FolderDataset",
    data_root=data_root,
    classes=classes,
    palette=palette,
    image_suffix=".jpg",
    label_suffix=".png",
)
resize = dict(type="RandomResize", scale=(480, 360), ratio_range=(0.75, 1.5), keep_ratio=True)
flip = dict(type="RandomFlip", prob=0.5)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DrawSampler"),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="SourceTargetPairs",
        source=dict(
            **folder,
            image_dir="source/images/train",
            label_dir="source/labels/train",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                resize,
                dict(type="RandomCrop", crop_size=(240, 320), cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            **folder,
            image_dir="target/images/train",
            pipeline=[
                dict(type="LoadImage"),
                resize,
                dict(type="RandomCrop", crop_size=(240, 320)),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **folder,
        image_dir="target/images/val",
        label_dir="target/labels/val",
        test_mode=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_evaluator = dict(type="SegmentationMetric")
# What `tools/test.py --on NAME` scores.
evaluation_sets = dict(
    day=dict(image_dir="source/images/val", label_dir="source/labels/val"),
    dusk=dict(image_dir="target/images/val", label_dir="target/labels/val"),
    test=dict(image_dir="target/images/test", label_dir="target/labels/test"),
)
