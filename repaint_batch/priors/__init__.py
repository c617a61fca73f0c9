"""Networks that predict noise, from wherever their owners keep them."""
