"""Float models and their quantization sites: loading of timm's vision transformers."""
