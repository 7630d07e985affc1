"""Owns where tensors come from: synthetic KV, files, the packaged captured sample; and how they are laid out."""
