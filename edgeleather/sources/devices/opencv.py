"""What OpenCV opens: cameras by number or device, RTSP and HTTP streams, GStreamer pipelines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgeleather.arrays import AnyArray
from edgeleather.errors import EdgeLeatherError
from edgeleather.sources.address import Address
from edgeleather.sources.devices.device import NotThereError

# An attempt to open and the pause after it are together below 5 s, so that a camera that is back is seen within that.
_OPEN_TIMEOUT_MS = 3000
_MOST_TIMEOUT_MS = 2**31 - 1
_BACKENDS = {"camera:": cv2.CAP_ANY, "/dev/video": cv2.CAP_ANY, "gstreamer:": cv2.CAP_GSTREAMER}


class OpenCvDevice:
    """One `cv2.VideoCapture`."""

    def __init__(self, address: Address, stall_seconds: float) -> None:
        """Choose the backend.

        Raises:
            EdgeLeatherError: a pipeline, and this OpenCV has no GStreamer.
        """
        self._address, self._stall_seconds = address, stall_seconds
        self._backend = _BACKENDS.get(address.kind, cv2.CAP_FFMPEG)
        self._capture: cv2.VideoCapture | None = None
        if self._backend == cv2.CAP_GSTREAMER and not has_gstreamer():
            raise EdgeLeatherError(
                f"{address.kind}: expected an OpenCV with GStreamer, got one without (as the wheel is). Use an RTSP or HTTP "
                "address, or an OpenCV built with it (JetPack's, or Debian's python3-opencv)."
            )

    def open(self) -> int | None:
        settings = list[int]()
        if self._backend == cv2.CAP_FFMPEG:
            # The read ends later than the watchdog, which says what is wrong; its end brings the thread back.
            read_timeout_ms = min(round(1e3 * (self._stall_seconds + 1)), _MOST_TIMEOUT_MS)
            settings = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS]
            settings += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_timeout_ms]
        try:
            self._capture = cv2.VideoCapture(self._target(), self._backend, settings)
        except cv2.error:
            self._capture = None
        if self._capture is None or not self._capture.isOpened():
            raise NotThereError(self._address.name, self._advice())
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return count if count > 0 else None

    def read(self) -> AnyArray | None:
        if self._capture is None:
            return None
        is_read, image = self._capture.read()
        return np.asarray(image) if is_read else None

    def release(self) -> None:
        if self._capture is not None:
            self._capture.release()

    def _target(self) -> int | str:
        if self._address.kind == "camera:":
            return int(self._address.rest)
        return self._address.rest if self._backend == cv2.CAP_GSTREAMER else self._address.text

    def _advice(self) -> str:
        if self._backend == cv2.CAP_FFMPEG:
            return (
                "Check the address, its user and password (with / ? # @ written as %2F %3F %23 %40), the camera's power and the "
                "network."
            )
        if self._backend == cv2.CAP_GSTREAMER:
            return "Try the pipeline with gst-launch-1.0; it has to end with appsink."
        number = self._address.rest
        if self._address.kind == "camera:" and Path(number).exists():
            return f"If the file or folder {number} was meant, say ./{number}."
        here = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        return f"Cameras here: {here}. Check that it is plugged in, that no other program has it, and your right to use it."


def has_gstreamer() -> bool:
    """Whether this OpenCV takes GStreamer pipelines."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))
