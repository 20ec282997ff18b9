"""What is kept between runs: prepared models on disk, by the content that they were made from."""
