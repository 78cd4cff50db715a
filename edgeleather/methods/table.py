"""The visible table of methods; it needs no torch."""

METHODS = {
    "cflow": "edgeleather.methods.cflow:Cflow",
    "draem": "edgeleather.methods.draem:Draem",
    "gaussian": "edgeleather.methods.gaussian:Gaussian",
    "memory-bank": "edgeleather.methods.memory_bank:MemoryBank",
    "reverse-distillation": "edgeleather.methods.reverse_distillation:ReverseDistillation",
    "ssim-ae": "edgeleather.methods.ssim_ae:SsimAutoencoder",
    "stfpm": "edgeleather.methods.stfpm:Stfpm",
}
