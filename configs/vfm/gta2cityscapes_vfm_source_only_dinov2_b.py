# python tools/train.py configs/vfm/gta2cityscapes_vfm_source_only_dinov2_b.py
# GTA5 -> Cityscapes, the network of gta2cityscapes_vfm_dinov2_b.py trained on GTA5 alone: the line
# that adaptation has to beat, by less the stronger the encoder. Expected: not measured.
# Cost: one pass of the student an iteration; not measured.
_base_ = [
    "../_base_/data/gta2cityscapes_1024_vfm.py",
    "../_base_/models/dinov2_b_adapter.py",
    "../_base_/schedules/vfm_40k.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(
    dataset=dict(
        target=None,
        sampling=dict(temperature=0.05, min_pixels=3000, min_crop_share=2.0, retries=20),
    )
)
model = dict(
    data_preprocessor=dict(size=(1024, 1024)),  # the crop
    method=dict(type="SourceOnly"),
)
