# python tools/train.py configs/contrast/camvid_day2dusk_ecap.py
# CamVid day -> dusk, DAFormer with a memory after ECAP. Expected: not measured.
# Cost: not measured; made for one CPU core. The memory adds 8 MB.
_base_ = ["../daformer/camvid_day2dusk_daformer.py"]
model = dict(
    method=dict(
        mixer=dict(
            _delete_=True,
            type="MemoryMix",
            mixer=dict(type="ClassMix"),
            size=(120, 160),
            memory=10,
            # Every second class on an image; the labels kept are the surer half (`share=0.5`).
            rate=5.5,
            turn=0.9,
            slope=0.02,
            min_pixels=50,
        )
    )
)
