# python tools/train.py configs/semi_supervised/cityscapes_fixmatch_deeplabv2_r101.py
# Cityscapes, one label in sixteen, FixMatch. Expected: not measured yet.
# Cost: not measured.
_base_ = [
    "../_base_/data/gta2cityscapes_512.py",
    "../_base_/models/deeplabv2_r101.py",
    "../_base_/schedules/daformer_40k.py",
    "../_base_/runtime/default.py",
]
# Every sixteenth image of Cityscapes has a label; these are not the published splits.
train_dataloader = dict(
    dataset=dict(
        source=dict(
            data_root="data/cityscapes",
            image_dir="leftImg8bit/train",
            label_dir="gtFine/train",
            image_suffix="_leftImg8bit.png",
            label_suffix="_gtFine_labelTrainIds.png",
            indices=list(range(0, 2975, 16)),
            pipeline=[
                dict(type="LoadImage"),
                dict(type="LoadLabel"),
                dict(type="Resize", scale=(1024, 512), keep_ratio=True),
                dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
                dict(type="RandomFlip", prob=0.5),
                dict(type="PackSegInputs"),
            ],
        ),
    )
)
model = dict(
    data_preprocessor=dict(size=(512, 512)),  # the crop
    method=dict(
        type="SelfTraining",
        # A teacher that is the student of the last iteration: FixMatch has one network.
        teacher=dict(type="EMATeacher", decay=0.0, warmup=False, buffers="copy", mode="eval"),
        selector=dict(type="ConfidenceThreshold", threshold=0.95),
        # Weak view: the crop and flip of the loader. Strong view: CutMix among unlabelled images,
        # then colours and blur. The loss is divided by all pixels, as in FixMatch.
        mixer=dict(type="TargetMix", mask="cutmix"),
        view=dict(type="ColorJitterBlur"),
    ),
)
