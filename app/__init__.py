"""The browser app for a trained model."""
