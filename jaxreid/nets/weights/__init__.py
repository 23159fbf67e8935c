"""Files of pretrained weights, read as data: `.pth`, `.safetensors` and `.npz` without PyTorch."""

from jaxreid.nets.weights.files import Weights, parse, parse_bytes, read

__all__ = ["Weights", "parse", "parse_bytes", "read"]
