"""From picture files and camera frames to the model's input."""
