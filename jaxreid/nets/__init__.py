"""Flax Linen networks: layers, GAN generators and discriminators, re-ID backbones and heads."""
