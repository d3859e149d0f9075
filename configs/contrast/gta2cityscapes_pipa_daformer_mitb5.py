# python tools/train.py configs/contrast/gta2cityscapes_pipa_daformer_mitb5.py
# GTA5 -> Cityscapes, PiPa over DAFormer. Expected: not measured. Published: 71.7 mIoU.
# Cost: not measured. gradient="student" lets the network learn from both windows too.
_base_ = ["../daformer/gta2cityscapes_daformer_mitb5.py"]
maps = dict(channels=(64, 128, 320, 512), levels=(0, 1, 2, 3))
model = dict(
    method=dict(
        terms=[
            dict(
                type="FeatureDistance",
                classes=[6, 7, 11, 12, 13, 14, 15, 16, 17, 18],  # things
                weight=0.005,
                min_share=0.75,
            ),
            dict(
                type="PixelContrast",
                **maps,
                size=256,
                weight=0.1,
                temperature=0.1,
                anchors=1024,
                per_class=100,
                min_pixels=100,
            ),
            dict(
                type="PatchContrast",
                **maps,
                hidden=256,
                size=128,
                pool=2,
                gradient="projection",
                weight=0.1,
                temperature=0.1,
                threshold=0.9,
                samples=1600,
                memory=2,
                view=dict(type="ColorJitterBlur"),
                start=10000,
            ),
        ]
    )
)
