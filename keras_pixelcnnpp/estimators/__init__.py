"""Estimators with the interface of scikit-learn: classifiers and the anomaly detector."""
