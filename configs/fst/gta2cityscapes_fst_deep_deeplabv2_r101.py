# python tools/train.py configs/fst/gta2cityscapes_fst_deep_deeplabv2_r101.py
# GTA5 -> Cityscapes. Expected: 59.9 mIoU (published for this network, FST; whether deep or wide is
# not said; not run here).
# Cost: four steps of the wrapped method an iteration, one copy of the weights more; not measured.
_base_ = ["../daformer/gta2cityscapes_daformer_deeplabv2_r101.py"]
model = dict(
    method=dict(
        # FST-D, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
    )
)
