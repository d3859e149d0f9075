# python tools/train.py configs/contrast/gta2cityscapes_ecap_daformer_mitb5.py
# GTA5 -> Cityscapes, DAFormer with a memory after ECAP. Expected: not measured.
# Cost: not measured; the memory adds 149 MB to the model and to each checkpoint.
_base_ = ["../daformer/gta2cityscapes_daformer_mitb5.py"]
model = dict(
    method=dict(
        mixer=dict(
            _delete_=True,
            type="MemoryMix",
            mixer=dict(type="ClassMix", candidates="batch"),
            size=(256, 256),  # half of the crop; the release keeps it whole, in files
            memory=30,
            rate=20.0,
            turn=0.93,
            slope=0.005,
            min_scale=0.1,
        )
    )
)
