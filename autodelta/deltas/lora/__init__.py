"""LoRA: a low-rank change of a linear map."""
