"""The native engine: plan files, and the C core that runs them."""
