"""What has to hold before a bundle is published: parity, golden translations, quality, size."""
