"""SavedModels: how they are made, and how they are used."""
