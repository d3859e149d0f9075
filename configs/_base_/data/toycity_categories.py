# ToyCity with Cityscapes' seven categories in place of its 19 classes: few iterations teach them.
# Made by `python tools/make_toycity.py data/toycity`; layouts as in toycity.py.
classes = ["flat", "construction", "object", "nature", "sky", "human", "vehicle"]
palette = [
    [128, 64, 128], [70, 70, 70], [153, 153, 153], [107, 142, 35], [70, 130, 180], [220, 20, 60],
    [0, 0, 142],
]  # fmt: skip
# Cityscapes train id -> category.
categories = {
    0: 0, 1: 0, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2, 7: 2, 8: 3, 9: 3, 10: 4, 11: 5, 12: 5, 13: 6, 14: 6,
    15: 6, 16: 6, 17: 6, 18: 6,
}  # fmt: skip
folder = dict(type="FolderDataset", classes=classes, palette=palette, label_map=categories)
resize = dict(type="RandomResize", scale=(320, 240), ratio_range=(0.9, 1.5), keep_ratio=True)
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
            data_root="data/toycity/gta5",
            image_dir="images",
            label_dir="labels",
            label_suffix="_labelTrainIds.png",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                resize,
                dict(type="RandomCrop", crop_size=(192, 256), cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            **folder,
            data_root="data/toycity/cityscapes",
            image_dir="leftImg8bit/train",
            image_suffix="_leftImg8bit.png",
            pipeline=[
                dict(type="LoadImage"),
                resize,
                dict(type="RandomCrop", crop_size=(192, 256)),
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
        data_root="data/toycity/cityscapes",
        image_dir="leftImg8bit/val",
        label_dir="gtFine/val",
        image_suffix="_leftImg8bit.png",
        label_suffix="_gtFine_labelTrainIds.png",
        test_mode=True,
        pipeline=[dict(type="LoadImage"), dict(type="LoadLabel"), dict(type="PackSegInputs")],
    ),
)
val_evaluator = dict(type="SegmentationMetric")
