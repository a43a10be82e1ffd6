from exported import exported, savedmodel, trained  # noqa: F401
