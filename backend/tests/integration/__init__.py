"""The tests of the whole: the backend as shipped, over real services. `cargo xtask integration` runs them."""
