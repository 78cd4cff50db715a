"""TensorRT 10.x and 11.x, and TensorRT for RTX."""
