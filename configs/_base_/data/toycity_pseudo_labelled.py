# The target of ToyCity alone, with pseudo-labels that tools/train_rounds.py makes and fills in.
classes = [
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
]  # fmt: skip
palette = [
    [128, 64, 128], [244, 35, 232], [70, 70, 70], [102, 102, 156], [190, 153, 153],
    [153, 153, 153], [250, 170, 30], [220, 220, 0], [107, 142, 35], [152, 251, 152],
    [70, 130, 180], [220, 20, 60], [255, 0, 0], [0, 0, 142], [0, 0, 70], [0, 60, 100],
    [0, 80, 100], [0, 0, 230], [119, 11, 32],
]  # fmt: skip
folder = dict(
    type="FolderDataset", classes=classes, palette=palette, data_root="data/toycity/cityscapes"
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
            image_dir="leftImg8bit/train",
            image_suffix="_leftImg8bit.png",
            label_dir=None,
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
                            min_max_height=(140, 240),
                            size=(192, 256),
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
        image_dir="leftImg8bit/val",
        label_dir="gtFine/val",
        image_suffix="_leftImg8bit.png",
        label_suffix="_gtFine_labelTrainIds.png",
        test_mode=True,
        pipeline=[dict(type="LoadImage"), dict(type="LoadLabel"), dict(type="PackSegInputs")],
    ),
)
val_evaluator = dict(type="SegmentationMetric")
