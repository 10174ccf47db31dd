"""Loading Qwen3-VL, attention for packed rows, adapters and towers; shared by training and inference."""
