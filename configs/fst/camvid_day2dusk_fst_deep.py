# python tools/train.py configs/fst/camvid_day2dusk_fst_deep.py
# CamVid day -> dusk, FST over DAFormer. Expected: not measured yet.
# Cost: four steps of camvid_day2dusk_daformer an iteration; made for one CPU core.
_base_ = ["../daformer/camvid_day2dusk_daformer.py"]
model = dict(
    method=dict(
        # FST-D, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
    )
)
