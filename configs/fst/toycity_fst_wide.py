# python tools/train.py configs/fst/toycity_fst_wide.py
# ToyCity's drawn source -> its drawn target, FST over DAFormer. Expected: not measured yet.
# Data: python tools/make_toycity.py data/toycity
# Cost: four steps and batches of toycity_daformer an iteration; made for one CPU core.
_base_ = ["../daformer/toycity_daformer.py"]
model = dict(
    method=dict(
        # FST-W, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="wide", steps=3, preset="reference"),
    )
)
