# python tools/train.py configs/mic/camvid_day2dusk_fst_mic_daformer.py
# CamVid day -> dusk, FST-D over MIC over DAFormer. Expected: not measured.
# Cost: four steps of camvid_day2dusk_mic_daformer an iteration; made for one CPU core, not measured.
_base_ = ["camvid_day2dusk_mic_daformer.py"]
model = dict(
    method=dict(
        # FST-D, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
    )
)
