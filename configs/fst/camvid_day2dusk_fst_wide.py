# python tools/train.py configs/fst/camvid_day2dusk_fst_wide.py
# CamVid day -> dusk, FST over DAFormer. Expected: not measured yet.
# Cost: four steps and batches of camvid_day2dusk_daformer an iteration; made for one CPU core.
_base_ = ["../daformer/camvid_day2dusk_daformer.py"]
model = dict(
    method=dict(
        # FST-W, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="wide", steps=3, preset="reference"),
    )
)
