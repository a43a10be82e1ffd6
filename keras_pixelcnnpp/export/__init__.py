"""Export and use of SavedModels."""
