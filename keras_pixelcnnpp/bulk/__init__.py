"""Scoring and drawing more pictures than one would wait for: in parts, by several processes."""

from keras_pixelcnnpp.bulk.block_job import BlockJob
from keras_pixelcnnpp.bulk.sampling_job import SamplingJob
from keras_pixelcnnpp.bulk.scoring_job import ScoringJob
from keras_pixelcnnpp.bulk.write_parts import require_workers, write_parts

__all__ = ["BlockJob", "SamplingJob", "ScoringJob", "require_workers", "write_parts"]
