"""Where frames come from: files, watched folders, cameras and streams."""
