"""Views: what the student sees of an image that the teacher saw plainly."""

from uda.selftraining.views.base import NoView, View
from uda.selftraining.views.color_jitter_blur import ColorJitterBlur
from uda.selftraining.views.fourier_style import FourierStyle
from uda.selftraining.views.torchvision_view import TorchvisionView

__all__ = ["ColorJitterBlur", "FourierStyle", "NoView", "TorchvisionView", "View"]
