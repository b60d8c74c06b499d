"""Readers of corpora: a folder of recordings becomes a list of utterances. One file per corpus."""
