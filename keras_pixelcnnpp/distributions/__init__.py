"""The distribution of a pixel: its mathematics, and as a `tfp` distribution."""
