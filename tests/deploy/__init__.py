"""Tests of what is deployed to Kubernetes, without a cluster."""
