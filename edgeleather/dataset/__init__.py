"""Datasets in MVTec layout: reading, checking, splitting by photograph, and synthetic leather."""
