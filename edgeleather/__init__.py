"""EdgeLeather: from good photos of leather to a calibrated engine to an audited inspection loop."""

from logging import NullHandler, getLogger

__version__ = "0.1.0"

getLogger("edgeleather").addHandler(NullHandler())  # a program that sets up no logging gets no lines
