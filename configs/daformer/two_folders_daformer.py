# python tools/train.py configs/daformer/two_folders_daformer.py
# Your own two folders: labelled source images, target images without any label.
# Expected: depends on the data; compare with configs/source_only/two_folders_source_only.py.
# Cost: depends on the data; a line of the log gives the remaining time. Runs on a CPU.
#
# Copy this file and go through the lines marked CHANGE. The source-only config reads this one, so
# that both runs see the same data; point the first line of its `_base_` at your copy.
_base_ = [
    "../_base_/models/efficientnet_lite0.py",
    "../_base_/schedules/cpu_600.py",
    "../_base_/runtime/default.py",
]
# CHANGE: the classes to learn. Their position is their train id: road 0, building 1, ...
classes = ["road", "building", "pole", "vegetation", "sky", "person", "vehicle"]
folder = dict(type="FolderDataset", classes=classes)
# CHANGE: the box (width, height) that images are brought to fit, here with a random factor. This
# one makes the shorter side of an image 240 or more, whatever its shape up to 1:2, so that the crop
# lies inside. Small sizes train fast, but lose thin objects.
resize = dict(type="RandomResize", scale=(480, 240), ratio_range=(1.0, 1.6), keep_ratio=True)
flip = dict(type="RandomFlip", prob=0.5)
train_dataloader = dict(
    batch_size=4,  # CHANGE: pairs of images an iteration; lower it if memory runs out
    num_workers=1,  # CHANGE: processes that read images, about the number of spare cores
    persistent_workers=True,
    sampler=dict(type="DrawSampler"),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="SourceTargetPairs",
        # Rare classes are drawn more often; a larger temperature makes the effect weaker. An error
        # names a class that no image shows with enough pixels: set min_pixels lower then.
        sampling=dict(type="RareClassSampling", temperature=0.1),
        source=dict(
            **folder,
            data_root="data/mine",  # CHANGE: the labelled folder
            image_dir="images",  # CHANGE: its images, with subfolders
            label_dir="labels",  # CHANGE: its labels: PNGs of one channel, same relative paths
            label_suffix=".png",  # CHANGE: what a label's name has in place of .png or .jpg
            # CHANGE: number in your label files -> train id, 255 to ignore it. The numbers here
            # are those of Cityscapes and GTA5. Leave the table out if labels hold train ids.
            label_map={
                7: 0,
                8: 0,
                11: 1,
                12: 1,
                13: 1,
                17: 2,
                19: 2,
                20: 2,
                21: 3,
                22: 3,
                23: 4,
                24: 5,
                25: 5,
                26: 6,
                27: 6,
                28: 6,
                31: 6,
                32: 6,
                33: 6,
            },  # fmt: skip
            # CHANGE: a number that the table lacks: "ignore" it, or stop with an "error".
            unmapped="ignore",
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                resize,
                # CHANGE: the crop (height, width); it stands here and in two places below.
                dict(type="RandomCrop", crop_size=(240, 320), cat_max_ratio=0.75),
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
        target=dict(
            **folder,
            data_root="data/other",  # CHANGE: the folder of unlabelled images
            image_dir=".",  # CHANGE: a folder in it, or "." for all; no label is looked for
            pipeline=[
                dict(type="LoadImage"),
                resize,
                dict(type="RandomCrop", crop_size=(240, 320)),  # CHANGE: the same crop
                flip,
                dict(type="PackSegInputs"),
            ],
        ),
    ),
)
# Without labelled target images nothing is measured. If you have some, to check with only, remove
# the three lines below and put in these:
#
# val_dataloader = dict(
#     batch_size=1,
#     num_workers=1,
#     persistent_workers=True,
#     sampler=dict(type="DefaultSampler", shuffle=False),
#     dataset=dict(
#         **folder,
#         data_root="data/other_val",
#         image_dir="images",
#         label_dir="labels",
#         test_mode=True,
#         pipeline=[
#             dict(type="LoadImage"),
#             dict(type="Resize", scale=(480, 240), keep_ratio=True),
#             dict(type="LoadLabel"),
#             dict(type="PackSegInputs"),
#         ],
#     ),
# )
# val_evaluator = dict(type="SegmentationMetric")
#
# With images alone take label_dir and LoadLabel out of that: scores that need no labels are logged
# then (docs/checkpoint_choice.md).
val_dataloader = None
val_evaluator = None
val_cfg = None
model = dict(
    data_preprocessor=dict(size=(240, 320)),  # CHANGE: the same crop
    network=dict(decode_head=dict(num_classes=len(classes))),
    method=dict(
        type="SelfTraining",
        # What did best on CamVid (docs/results.md): the encoder is full of batch normalisation,
        # and rare classes need pseudo-labels of their own share.
        teacher=dict(type="EMATeacher", decay=0.99, mode="eval", buffers="ema"),
        selector=dict(
            type="ClassBalancedThreshold", share=0.5, maximum=0.9, momentum=0.95, ramp=200
        ),
        mixer=dict(type="ClassMix"),
        view=dict(type="ColorJitterBlur"),
        # CHANGE: the train ids of objects with a shape of their own (here pole, person, vehicle).
        terms=[dict(type="FeatureDistance", classes=[2, 5, 6], weight=0.005)],
    ),
)
# CHANGE: iterations; more for more images.
train_cfg = dict(max_iters=2000, val_interval=500)
default_hooks = dict(
    checkpoint=dict(interval=300, max_keep_ckpts=1),
    # Scored and deployed with batch normalisation of whole target images.
    statistics=dict(type="TargetStatistics"),
)
