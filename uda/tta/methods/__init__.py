"""The methods, one file each."""

from uda.tta.methods.bn import BN
from uda.tta.methods.cotta import CoTTA
from uda.tta.methods.deyo import DeYO
from uda.tta.methods.eata import EATA
from uda.tta.methods.ent import Ent
from uda.tta.methods.eta import ETA
from uda.tta.methods.hard_pl import HardPL
from uda.tta.methods.lame import LAME
from uda.tta.methods.rdumb import RDumb
from uda.tta.methods.rotta import RoTTA
from uda.tta.methods.rpl import RPL
from uda.tta.methods.sar import SAR
from uda.tta.methods.soft_pl import SoftPL
from uda.tta.methods.tent import Tent
from uda.tta.methods.vida import ViDA

__all__ = [
    "BN",
    "EATA",
    "ETA",
    "LAME",
    "RPL",
    "SAR",
    "CoTTA",
    "DeYO",
    "Ent",
    "HardPL",
    "RDumb",
    "RoTTA",
    "SoftPL",
    "Tent",
    "ViDA",
]
