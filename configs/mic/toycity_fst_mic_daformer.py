# python tools/train.py configs/mic/toycity_fst_mic_daformer.py
# ToyCity's drawn source -> its drawn target, FST-D over MIC over DAFormer. Expected: not measured.
# Data: python tools/make_toycity.py data/toycity
# Cost: four steps of toycity_mic_daformer an iteration; made for one CPU core, not measured.
_base_ = ["toycity_mic_daformer.py"]
model = dict(
    method=dict(
        # FST-D, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
    )
)
