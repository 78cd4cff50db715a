"""The kinds of devices, by how their addresses begin."""

from __future__ import annotations

# The class of each. A camera's number is short for camera:NUMBER. Schemes with :// are told in any case of letters.
DEVICES = {
    "camera:": "edgeleather.sources.devices.opencv:OpenCvDevice",
    "/dev/video": "edgeleather.sources.devices.opencv:OpenCvDevice",
    "gstreamer:": "edgeleather.sources.devices.opencv:OpenCvDevice",
    "rtsp://": "edgeleather.sources.devices.opencv:OpenCvDevice",
    "rtsps://": "edgeleather.sources.devices.opencv:OpenCvDevice",
    "http://": "edgeleather.sources.devices.web:WebDevice",
    "https://": "edgeleather.sources.devices.web:WebDevice",
}
