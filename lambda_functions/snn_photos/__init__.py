"""Photos: decoding them, and the pretrained networks (backbones) that turn them into features."""
