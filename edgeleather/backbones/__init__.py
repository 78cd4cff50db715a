"""Pretrained feature extractors in plain torch: images to multi-scale features."""
