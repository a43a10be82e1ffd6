"""The commands that use, export or serve a trained model, such as `sample` and `serve`."""
