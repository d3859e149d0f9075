# python tools/adapt.py configs/test_time_adaptation/cityscapes2acdc_continual_mitb5.py CHECKPOINT --method cotta --reset-every 1000 --out acdc.json --report acdc.html
# Cityscapes -> ACDC, the continual protocol of CoTTA (CVPR 2022): a source model meets the training
# images of fog, night, rain and snow (400 each, 960x540, batch 1), ten times over; nobody tells it
# where a domain begins. CHECKPOINT is a source model: source_only/cityscapes2acdc_source_only_mitb5
# fits, or train one by this file (the same network and training):
#     python tools/train.py configs/test_time_adaptation/cityscapes2acdc_continual_mitb5.py
# Expected: not measured here. Published for SegFormer-B5, mean over rounds: source 56.7, BN statistics
# 52.0 mIoU (as CoTTA's paper reports); this network has DAFormer's head, so compare within a run.
# Cost: not measured; 16000 images by each of three models; cotta predicts every image 14 + 3 times.
_base_ = [
    "../_base_/data/cityscapes2acdc_512.py",
    "../_base_/models/daformer_mitb5.py",
    "../_base_/schedules/daformer_40k.py",
    "../_base_/runtime/default.py",
]
train_dataloader = dict(dataset=dict(target=None))
model = dict(method=dict(type="SourceOnly"))
# A domain is the validation set with what it changes; the labels score and are not learnt from.
stream = dict(
    rounds=10,
    domains=[
        dict(name="fog", include="fog/train/*"),
        dict(name="night", include="night/train/*"),
        dict(name="rain", include="rain/train/*"),
        dict(name="snow", include="snow/train/*"),
    ],
)
