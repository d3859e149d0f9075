# python tools/train.py configs/source_only/gta2cityscapes_source_only_mitb5.py
# GTA5 -> Cityscapes. Expected: not run here.
# Cost: not measured; one pass of the student an iteration where DAFormer has two and the teacher's.
_base_ = [
    "../_base_/data/gta2cityscapes_512.py",
    "../_base_/models/daformer_mitb5.py",
    "../_base_/schedules/daformer_40k.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(dataset=dict(target=None))
model = dict(method=dict(type="SourceOnly"))
