"""What live frames are read from: one file per kind of device."""
