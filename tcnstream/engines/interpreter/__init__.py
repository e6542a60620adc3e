"""The interpreter engine: generated streaming graphs in ai-edge-litert or tflite-runtime."""
