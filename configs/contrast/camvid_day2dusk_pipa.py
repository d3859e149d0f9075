# python tools/train.py configs/contrast/camvid_day2dusk_pipa.py
# CamVid day -> dusk, PiPa over DAFormer. Expected: not measured.
# Cost: not measured; made for one CPU core.
_base_ = ["../daformer/camvid_day2dusk_daformer.py"]
maps = dict(channels=(40, 112, 320), levels=(1, 2, 3), hidden=128, size=64)
model = dict(
    method=dict(
        terms=[
            dict(type="FeatureDistance", classes=[6, 8, 9, 10], weight=0.005),
            dict(
                type="PixelContrast", **maps, weight=0.1, anchors=512, per_class=40, min_pixels=20
            ),
            dict(
                type="PatchContrast",
                **maps,
                pool=1,
                gradient="student",
                weight=0.1,
                samples=400,
                view=dict(type="ColorJitterBlur"),
                start=150,
            ),
        ]
    )
)
