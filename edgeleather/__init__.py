"""EdgeLeather: from good photos of leather to a calibrated engine to an audited inspection loop."""

__version__ = "0.1.0"
