"""What a candidate is worth: models, data, quantization, accuracy, size and latency."""
