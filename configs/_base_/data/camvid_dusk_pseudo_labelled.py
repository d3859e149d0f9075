# CamVid at dusk alone, with pseudo-labels that tools/train_rounds.py makes and fills in. Training on
# crops of 160 to 360 rows resized to 320x240, labels and evaluation on whole frames.
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
    type="FolderDataset", data_root=data_root, classes=classes, palette=palette, image_suffix=".jpg"
)
# HIAST's strong view: three of eight changes, each of them done with probability 0.5. The blur has
# the deviations that OpenCV derives from kernels of 3 to 41 pixels.
strong = [
    dict(
        type="Albumentations",
        transforms=[
            dict(
                type="SomeOf",
                n=3,
                transforms=[
                    dict(
                        type="ColorJitter",
                        brightness=0.2,
                        contrast=0.2,
                        saturation=0.2,
                        hue=0.2,
                        p=0.5,
                    ),
                    dict(type="GaussianBlur", blur_limit=0, sigma_limit=(0.8, 6.5), p=0.5),
                    dict(
                        type="RandomBrightnessContrast",
                        brightness_limit=0,
                        contrast_limit=(0, 3),
                        p=0.5,
                    ),
                    dict(
                        type="RandomBrightnessContrast",
                        brightness_limit=0.5,
                        contrast_limit=0,
                        p=0.5,
                    ),
                    dict(type="Posterize", num_bits=4, p=0.5),
                    dict(type="Equalize", p=0.5),
                    dict(type="Solarize", threshold_range=(0.5, 0.5), p=0.5),
                    dict(type="ToGray", p=0.5),
                ],
            )
        ],
    )
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DrawSampler"),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="PseudoLabelledTarget",
        target=dict(
            **folder,
            image_dir="target/images/train",
            label_dir=None,
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadPseudoLabel"),
                # Pole, sign, fence, pedestrian, bicyclist. With 8 of 11, near the published 14 of 19,
                # roads and sidewalks of other frames were pasted too and learnt at wrong places.
                dict(type="HardClassCopyPaste", num_hard=5),
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
                    ],
                ),
                dict(type="PackSegInputs"),
            ],
        ),
        strong=strong,
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
        pipeline=[dict(type="LoadImage"), dict(type="LoadLabel"), dict(type="PackSegInputs")],
    ),
)
val_evaluator = dict(type="SegmentationMetric")
# What `tools/test.py --on NAME` scores.
evaluation_sets = dict(
    day=dict(image_dir="source/images/val", label_dir="source/labels/val"),
    dusk=dict(image_dir="target/images/val", label_dir="target/labels/val"),
    test=dict(image_dir="target/images/test", label_dir="target/labels/test"),
)
