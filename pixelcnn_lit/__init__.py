"""The PixelCNN family: train, measure, sample and compare it with exact likelihoods."""
