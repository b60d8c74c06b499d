"""What the files of an exported model are called that a bundle (bundle.py) alone does not have."""

MODEL = "model.onnx"
EXAMPLE = "example.wav"  # of the built-in corpus: nobody's voice
CARD = "README.md"
MANIFEST = "manifest.json"
INPUT = "waveform"  # of the graph
ADDED = (MODEL, EXAMPLE, CARD, MANIFEST)
