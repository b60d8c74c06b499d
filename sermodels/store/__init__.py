"""From utterances to the spectrogram store on disk, and to the rows of each side."""
