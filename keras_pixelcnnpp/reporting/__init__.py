"""The report of a run: its facts gathered from the run folder, as the parts of one page."""

from keras_pixelcnnpp.reporting.build import build_page

__all__ = ["build_page"]
