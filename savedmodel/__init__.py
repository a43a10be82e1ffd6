"""The commands that use a trained model, from `sample` to `serve`."""
