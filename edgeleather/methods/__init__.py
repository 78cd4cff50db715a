"""Novelty-detection methods: trained from good pictures, one graph contract."""
