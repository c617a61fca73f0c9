"""Objects on S3: whether to believe the store (`client`), what arrives (`certain`), and what is done with them (`objects`)."""
