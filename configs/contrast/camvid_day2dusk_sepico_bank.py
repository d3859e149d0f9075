# python tools/train.py configs/contrast/camvid_day2dusk_sepico_bank.py
# CamVid day -> dusk, DAFormer and SePiCo (BankCL). Expected: not measured.
# Cost: not measured; made for one CPU core.
_base_ = ["../daformer/camvid_day2dusk_daformer.py"]
model = dict(
    method=dict(
        terms=[
            dict(type="FeatureDistance", classes=[6, 8, 9, 10], weight=0.005),
            dict(
                type="ClassContrast",
                kind="bank",
                channels=(112, 320),
                levels=(2, 3),
                size=128,
                memory=50,
                # Unit vectors differ by 2 at most: the published 100 leaves a share of a hundredth.
                temperature=0.1,
                weight=0.1,
                regulariser="none",
                view=dict(type="ColorJitterBlur"),
                start=50,
            ),
        ]
    )
)
