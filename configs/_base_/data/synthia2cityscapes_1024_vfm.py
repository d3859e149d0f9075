# SYNTHIA-RAND-CITYSCAPES (labelled, 16 of the 19 classes) -> Cityscapes (no labels) as in VFM-UDA:
# crops of 1024x1024 from images whose shorter side is 1024 pixels, times 0.9 to 1.1. Images are
# scored as they are; the models of configs/vfm resize them. mIoU16 and mIoU13 are the published
# means.
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
folder = dict(type="FolderDataset", classes=classes, palette=palette)
flip = dict(type="RandomFlip", prob=0.5)
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
            data_root="data/synthia",
            image_dir="RGB",
            label_dir="GT/LABELS",
            image_suffix=".png",
            label_suffix="_labelTrainIds.png",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                dict(
                    type="RandomResize",
                    scale=(4096, 1024),
                    ratio_range=(0.9, 1.1),
                    keep_ratio=True,
                ),
                dict(type="RandomCrop", crop_size=(1024, 1024), cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            **folder,
            data_root="data/cityscapes",
            image_dir="leftImg8bit/train",
            image_suffix="_leftImg8bit.png",
            pipeline=[
                dict(type="LoadImage"),
                # as released: the border and the own car, 3 % and, at the bottom, 25 %
                dict(
                    type="PseudoLabelMargins",
                    top=31,
                    bottom=256,
                    left=61,
                    right=61,
                    size=(1024, 2048),
                ),
                dict(
                    type="RandomResize",
                    scale=(4096, 1024),
                    ratio_range=(0.9, 1.1),
                    keep_ratio=True,
                ),
                dict(type="RandomCrop", crop_size=(1024, 1024)),
                flip,
                dict(type="PackTarget"),
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
        **folder,
        data_root="data/cityscapes",
        image_dir="leftImg8bit/val",
        label_dir="gtFine/val",
        image_suffix="_leftImg8bit.png",
        label_suffix="_gtFine_labelTrainIds.png",
        test_mode=True,
        pipeline=[
            dict(type="LoadImage"),
            dict(type="LoadLabel"),
            dict(type="PackSegInputs"),
        ],
    ),
)
val_evaluator = dict(type="SegmentationMetric", subsets=(16, 13))
