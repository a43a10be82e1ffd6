"""The page that tells all that is known of a run."""
