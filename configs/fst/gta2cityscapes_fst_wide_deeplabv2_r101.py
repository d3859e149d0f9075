# python tools/train.py configs/fst/gta2cityscapes_fst_wide_deeplabv2_r101.py
# GTA5 -> Cityscapes. Expected: not measured yet (published for this network, FST: 59.9, whether deep
# or wide is not said).
# Cost: four steps of the wrapped method and four batches an iteration, two copies of the weights
# more; not measured.
_base_ = ["../daformer/gta2cityscapes_daformer_deeplabv2_r101.py"]
model = dict(
    method=dict(
        # FST-W, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="wide", steps=3, preset="reference"),
    )
)
