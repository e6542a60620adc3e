"""Fixed kernels with up- and downsampling, as streams."""
