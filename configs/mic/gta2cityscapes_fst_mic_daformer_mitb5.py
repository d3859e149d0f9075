# python tools/train.py configs/mic/gta2cityscapes_fst_mic_daformer_mitb5.py
# GTA5 -> Cityscapes, FST-D over MIC over DAFormer. Expected: not measured.
# Cost: twelve passes of a student and four of a teacher an iteration (DAFormer: two and one), one
# copy of the weights more; not measured.
_base_ = ["gta2cityscapes_mic_daformer_mitb5.py"]
model = dict(
    method=dict(
        # FST-D, as released: optimiser and running statistics keep the virtual steps.
        look_ahead=dict(type="LookAhead", mode="deep", steps=3, preset="reference"),
    )
)
