"""Deployable graphs: a configuration as an ONNX model, written node by node."""
