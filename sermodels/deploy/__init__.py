"""A trained student leaves: as an ONNX graph, with what a stranger needs to use and to trust it."""
