"""From a frame to its inspection: inference, decision, overlay."""
