# python tools/train.py configs/source_only/two_folders_source_only.py
# The line that adaptation to your own folder has to beat. All about the data stands in the config
# below `_base_`: change it there.
# Expected: depends on the data.
# Cost: about a third of the DAFormer run.
_base_ = ["../daformer/two_folders_daformer.py"]
train_dataloader = dict(dataset=dict(target=None, sampling=None))
model = dict(method=dict(_delete_=True, type="SourceOnly"))
