"""The discretized logistic mixture: its mathematics, and the tfp `Distribution` over it."""
