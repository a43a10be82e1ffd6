"""The page to play with a trained model."""
