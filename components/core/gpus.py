"""GPUs as torch sees them."""

import torch


def why_no_gpu() -> str:
    """Why torch sees no GPU, or fewer than it should."""
    if not torch.version.cuda and not torch.version.hip:
        return "this PyTorch is built for CPUs alone"
    if not torch.cuda.is_available():
        return "torch finds no GPU, or no driver for it"
    return f"torch finds {torch.cuda.device_count()}"
