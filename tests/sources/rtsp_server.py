"""A real RTSP server (GStreamer's) of one picture, for the tests; run by the system's Python, which has its bindings.

Usage: rtsp_server.py PICTURE.png PORT. Prints "ready" and serves rtsp://127.0.0.1:PORT/leather until it is killed.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_service(sys.argv[2])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    f'( multifilesrc location="{sys.argv[1]}" loop=true caps="image/png,framerate=20/1" ! pngdec ! videoconvert ! '
    "x264enc tune=zerolatency speed-preset=ultrafast bitrate=4000 key-int-max=10 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/leather", factory)
if server.attach(None) == 0:
    sys.exit("the port is taken")
print("ready", flush=True)
GLib.MainLoop().run()
