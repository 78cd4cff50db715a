"""From a trained method to ONNX, proven, and to a bundle."""
