"""Proof that two models compute the same: feeds, comparison, evidence, verdict, weights, first divergence."""
