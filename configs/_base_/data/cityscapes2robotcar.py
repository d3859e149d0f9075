# Cityscapes (labelled) -> Oxford RobotCar (no labels), the 9 classes of HIAST, crops of 768x1024
# (height, width) that are cut at several scales.
classes = [
    "sky", "person", "two-wheeler", "automobile", "traffic sign", "traffic light", "building",
    "sidewalk", "road",
]  # fmt: skip
palette = [
    [70, 130, 180], [220, 20, 60], [119, 11, 32], [0, 0, 142], [220, 220, 0], [250, 170, 30],
    [70, 70, 70], [244, 35, 232], [128, 64, 128],
]  # fmt: skip
# Cityscapes' train ids as the nine; uda.data.class_tables.CITYSCAPES_TO_ROBOTCAR.
label_map = {
    0: 8, 1: 7, 2: 6, 6: 5, 7: 4, 10: 0, 11: 1, 12: 1, 13: 3, 14: 3, 15: 3, 17: 2, 18: 2,
    3: 255, 4: 255, 5: 255, 8: 255, 9: 255, 16: 255,
}  # fmt: skip
folder = dict(type="FolderDataset", classes=classes, palette=palette)
robotcar = dict(**folder, data_root="data/robotcar")
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type="DrawSampler"),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="SourceTargetPairs",
        source=dict(
            **folder,
            data_root="data/cityscapes",
            image_dir="leftImg8bit/train",
            label_dir="gtFine/train",
            image_suffix="_leftImg8bit.png",
            label_suffix="_gtFine_labelTrainIds.png",
            label_map=label_map,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                dict(
                    type="Albumentations",
                    transforms=[
                        dict(type="HorizontalFlip", p=0.5),
                        dict(
                            type="RandomSizedCrop",
                            min_max_height=(341, 1000),
                            size=(768, 1024),
                            w2h_ratio=4 / 3,
                        ),
                    ],
                ),
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            **robotcar,
            image_dir="images/train",
            pipeline=[
                dict(type="LoadImage"),
                dict(
                    type="Albumentations",
                    transforms=[
                        dict(type="HorizontalFlip", p=0.5),
                        dict(
                            type="RandomSizedCrop",
                            min_max_height=(341, 900),
                            size=(768, 1024),
                            w2h_ratio=4 / 3,
                        ),
                    ],
                ),
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False, round_up=False),
    dataset=dict(
        **robotcar,
        image_dir="images/val",
        label_dir="labels/val",
        label_suffix="_labelTrainIds.png",
        test_mode=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="Resize", scale=(1024, 768), keep_ratio=True),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_evaluator = dict(type="SegmentationMetric")
