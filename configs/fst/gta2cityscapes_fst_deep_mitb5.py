# python tools/train.py configs/fst/gta2cityscapes_fst_deep_mitb5.py
# GTA5 -> Cityscapes. Expected: 69.6 mIoU (published, FST-D; not run here).
# Cost: four steps of DAFormer an iteration, one copy of the weights more; not measured here.
_base_ = ["../daformer/gta2cityscapes_daformer_mitb5.py"]
model = dict(
    method=dict(
        # FST-D, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
    )
)
